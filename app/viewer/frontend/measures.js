// Distances between two points of a plane, and angles at the second of three: clicks, or a key at the crosshair.

import { element, write } from './dom.js'

const LINE = '#ffe36e', DARK = 'rgba(0, 0, 0, 0.75)'
const ENDS = { distance: 2, angle: 3 } // points

export class Measures {
  constructor (viewer, kind) {
    Object.assign(this, { viewer, kind, on: false, list: [], open: null })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false', title: kind === 'angle' ? 'A' : 'M' }, labels[kind])
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.items = element('ul')
    this.root = element('div', { className: `measures ${kind}s`, hidden: true }, element('b', {}, labels[`${kind}s`]), this.items)
  }

  turn (on) {
    this.on = on
    this.button.ariaPressed = String(on)
    this.viewer.root.classList.toggle('measuring', on)
    this.cancel()
  }

  restore (list) {
    this.list = list
    this.show()
  }

  press (plane, point) { this.put(plane, point) }

  // One point; the last one on the same slice makes it whole.
  put (plane, point) {
    const { open } = this
    if (open && this.lies(open, plane)) {
      open.points[open.points.length - 1] = point
      if (open.points.length === ENDS[this.kind]) this.finish(open)
      else open.points.push(point)
    } else {
      this.open = { plane: plane.name, w: plane.w, points: [point, point] }
    }
    this.changed()
  }

  finish (measure) {
    this.list.push(measure)
    this.open = null
    this.show()
    this.viewer.keepMarks()
    write(this.viewer.status, this.text(measure))
  }

  follow (plane, point) {
    if (!this.open || !this.lies(this.open, plane)) return
    this.open.points[this.open.points.length - 1] = point
    this.changed()
  }

  cancel () {
    this.open = null
    this.changed()
  }

  remove (measure) {
    this.list = this.list.filter((one) => one !== measure)
    this.show()
    this.viewer.keepMarks()
    this.changed()
  }

  removeLast () {
    if (this.list.length) this.remove(this.list.at(-1))
  }

  changed () {
    this.viewer.marked()
  }

  lies ({ plane, w, points }, { name }) {
    const { point, volumes: { pet } } = this.viewer
    return plane === name && Math.abs(points[0][w] - point[w]) <= pet.spacing[w] / 2
  }

  text ({ points: [first, second, third] }) {
    const { viewer } = this
    if (this.kind === 'distance') return `${viewer.number(length(between(first, second)), 1)} mm`
    if (!third) return ''
    const one = between(second, first), other = between(second, third)
    const cosine = one.reduce((sum, value, axis) => sum + value * other[axis], 0) / (length(one) * length(other))
    return `${viewer.number(Math.acos(Math.min(1, Math.max(-1, cosine))) * 180 / Math.PI, 0)}°`
  }

  // The list below the images.
  show () {
    const { labels } = this.viewer.data
    this.root.hidden = !this.list.length
    this.items.replaceChildren(...this.list.map((measure) => {
      const name = `${labels[measure.plane]} ${this.text(measure)}`
      const show = element('button', { type: 'button', title: labels.show }, name)
      show.addEventListener('click', () => this.viewer.moveTo(measure.points[0].slice()))
      const remove = element('button', { type: 'button', title: labels.remove, ariaLabel: `${labels.remove} : ${name}` }, '✕')
      remove.addEventListener('click', () => this.remove(measure))
      return element('li', {}, show, remove)
    }))
  }

  draw (context, plane) {
    for (const measure of this.open ? [...this.list, this.open] : this.list) {
      if (this.lies(measure, plane)) drawLine(context, measure.points.map((point) => plane.pixel(point)), this.text(measure))
    }
  }
}

const between = (from, to) => to.map((value, axis) => value - from[axis])
const length = (line) => Math.hypot(...line)

// A line through points, with a bar across each of its ends.
function drawLine (context, points, text) {
  const line = new Path2D()
  for (const [i, [x1, y1]] of points.slice(0, -1).entries()) {
    const [x2, y2] = points[i + 1]
    line.moveTo(x1, y1)
    line.lineTo(x2, y2)
    const long = Math.hypot(x2 - x1, y2 - y1) || 1
    const [dx, dy] = [(y2 - y1) / long * 5, (x1 - x2) / long * 5]
    const ends = [...(i === 0 ? [[x1, y1]] : []), ...(i === points.length - 2 ? [[x2, y2]] : [])]
    for (const [x, y] of ends) {
      line.moveTo(x - dx, y - dy)
      line.lineTo(x + dx, y + dy)
    }
  }
  const [x, y] = points[1]
  context.font = '600 13px sans-serif'
  for (const [width, colour] of [[4, DARK], [1.5, LINE]]) {
    Object.assign(context, { lineWidth: width, strokeStyle: colour, fillStyle: colour })
    context.stroke(line)
    if (colour === DARK) context.strokeText(text, x + 9, y - 7)
    else context.fillText(text, x + 9, y - 7)
  }
}
