// Sphere regions of interest: SUVmax, mean, peak, SUL and volume inside a sphere, which a click puts and the wheel resizes.

import { element, write } from './dom.js'
import { voxels } from './volume.js'

const ROI = '#7fd6ff', ROI_RIM = 'rgba(0, 0, 0, 0.75)'
const FIRST_MM = 15 // radius of a new sphere: a liver reference of 3 cm across
const PEAK_MM = 6.2 // radius of 1 ml
const MOST_MM = 60

export class Spheres {
  constructor (viewer) {
    Object.assign(this, { viewer, on: false, list: [], current: null })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false', title: 'R' }, labels.sphere)
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.items = element('ul')
    this.root = element('div', { className: 'measures spheres', hidden: true }, element('b', {}, labels.spheres), this.items)
  }

  turn (on) {
    this.on = on
    this.button.ariaPressed = String(on)
    this.viewer.root.classList.toggle('measuring', on)
    if (!on) this.current = null
  }

  restore (list) {
    this.list = list.map(({ centre, radius }) => ({ centre, radius }))
    this.show()
  }

  // A click inside a sphere takes it up, another puts a new one; the next click moves the one taken up.
  press (plane, point) {
    const hit = this.list.find((sphere) => apart(sphere.centre, point) <= sphere.radius)
    if (hit) this.current = hit
    else if (this.current) this.current.centre = point
    else this.list.push(this.current = { centre: point, radius: FIRST_MM })
    this.viewer.moveTo(this.current.centre.slice())
    this.changed()
  }

  wheel (notches) {
    if (!this.current) return false
    this.current.radius = Math.min(MOST_MM, Math.max(2, this.current.radius + notches))
    this.changed()
    return true
  }

  cancel () { this.current = null }

  remove (sphere) {
    this.list = this.list.filter((one) => one !== sphere)
    if (this.current === sphere) this.current = null
    this.changed()
  }

  changed () {
    this.show()
    this.viewer.marked()
    this.viewer.keepMarks()
  }

  text (sphere) {
    const { viewer } = this
    if (!viewer.volumes.pet) return ''
    const found = measure(viewer.volumes.pet, sphere), { sul, quantity } = viewer.data
    const number = (value) => viewer.number(value, quantity === 'SUV' ? 2 : 0)
    const lean = sul ? ` · SULpeak ${number(found.peak * sul)}` : ''
    return `∅ ${viewer.number(2 * sphere.radius, 0)} mm · ${viewer.number(found.ml, 1)} ml · max ${number(found.max)} · ${viewer.data.labels.mean} ${number(found.mean)} ± ${number(found.sd)} · peak ${number(found.peak)}${lean}`
  }

  show () {
    const { labels } = this.viewer.data
    this.root.hidden = !this.list.length
    this.items.replaceChildren(...this.list.map((sphere) => {
      const name = this.text(sphere)
      const show = element('button', { type: 'button', title: labels.show }, name)
      show.addEventListener('click', () => { if (this.on) this.current = sphere; this.viewer.moveTo(sphere.centre.slice()) })
      const remove = element('button', { type: 'button', title: labels.remove, ariaLabel: `${labels.remove} : ${name}` }, '✕')
      remove.addEventListener('click', () => this.remove(sphere))
      return element('li', {}, show, remove)
    }))
    write(this.viewer.status, this.current ? this.text(this.current) : '')
  }

  draw (context, plane) {
    const { point } = this.viewer
    for (const sphere of this.list) {
      const off = Math.abs(sphere.centre[plane.w] - point[plane.w])
      if (off >= sphere.radius) continue
      const [x, y] = plane.pixel(sphere.centre)
      for (const [width, colour] of [[4, ROI_RIM], [sphere === this.current ? 2.5 : 1.5, ROI]]) {
        Object.assign(context, { lineWidth: width, strokeStyle: colour })
        context.beginPath()
        context.arc(x, y, Math.sqrt(sphere.radius ** 2 - off ** 2) * plane.scale, 0, 2 * Math.PI)
        context.stroke()
      }
    }
  }
}

const apart = (a, b) => Math.hypot(...a.map((value, axis) => value - b[axis]))

// Voxels whose centres lie in the sphere; the peak is the highest mean of 1 ml around one of them.
export function measure (pet, { centre, radius }) {
  const inside = within(pet, centre, radius)
  const values = inside.map(({ value }) => value)
  const mean = averageOf(values)
  const sd = Math.sqrt(averageOf(values.map((value) => (value - mean) ** 2)))
  const peak = Math.max(...inside.map(({ place }) => averageOf(within(pet, place, PEAK_MM).map(({ value }) => value))))
  const ml = values.length * pet.spacing.reduce((product, step) => product * step, 1) / 1000
  return { max: Math.max(...values), mean, sd, peak, ml }
}

const averageOf = (values) => values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN

const within = (pet, centre, radius) => Array.from(voxels(pet, centre, radius), ({ place, offset }) => ({ place, value: pet.values[offset] * pet.scale }))
