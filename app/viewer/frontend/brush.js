// Brush and eraser: a sphere that is drawn along a line adds voxels to a lesion, or takes them from lesions, in all planes.
//
// A lesion that lies under the beginning of a stroke is drawn further; where there is none, a new one begins. What is drawn
// is seen at once; the server measures it, one stroke after the other.

import { clamp, element, write } from './dom.js'
import { Volume, voxels } from './volume.js'

const ADDS = 1, TAKES = 2
const INK = { [ADDS]: '#5dffb0', [TAKES]: '#ff8a75' }
const SHADE = 'rgba(0, 0, 0, 0.7)'
const SMALLEST_MM = 2, LARGEST_MM = 40
const MOST = 200 // points of a stroke
const FLOORS = [0, 2.5, 4] // SUV from which voxels are added

export class Brush {
  // `kind` is "brush" or "erase"; both draw on one layer, which is seen until the server has measured it
  constructor (viewer, kind, layer) {
    Object.assign(this, { viewer, kind, layer, on: false, at: null, stroke: null })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false', title: kind === 'brush' ? 'B' : 'E' }, labels[kind])
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.words = element('span', { ariaLive: 'polite' })
    const close = element('button', { type: 'button' }, labels.close)
    close.addEventListener('click', () => viewer.use(null))
    this.root = element('div', { className: 'segmenting', hidden: true }, this.words, ...this.floor(), close)
  }

  get radius () { return this.viewer.settings.brush ?? 6 }
  get possible () { return Boolean(this.viewer.data.lesions.choices?.open && this.viewer.volumes.lesions) }

  // What is added: all that is covered, or only what is hot.
  floor () {
    const { viewer, viewer: { data: { labels } } } = this
    if (this.kind !== 'brush') return []
    const chosen = viewer.settings.brushFrom ?? 0
    const select = element('select', { name: 'floor', ariaLabel: labels.brush_from },
      ...FLOORS.map((suv) => element('option', { value: suv, selected: suv === chosen }, suv ? `SUV ≥ ${viewer.number(suv, 1)}` : labels.brush_all)))
    select.addEventListener('change', () => { viewer.settings.brushFrom = Number(select.value) })
    return [select]
  }

  turn (on) {
    this.on = on && this.possible
    this.button.ariaPressed = String(this.on)
    this.root.hidden = !this.on
    this.viewer.root.classList.toggle('measuring', this.on)
    this.cancel()
    this.say()
  }

  say () {
    const { viewer, viewer: { data: { labels } } } = this
    const id = this.kind === 'brush' && this.at ? lesionAt(viewer, this.at, this.radius) : null
    const what = this.kind === 'erase' ? labels.erase : id ? `${labels.lesion} ${viewer.nameOf(id)}` : labels.new_lesion
    write(this.words, `${what} · ∅ ${viewer.number(2 * this.radius, 0)} mm · ${labels.brush_help}`)
  }

  wheel (notches) {
    this.viewer.settings.brush = clamp(this.radius + notches, SMALLEST_MM, LARGEST_MM)
    this.say()
    this.viewer.marked()
    return true
  }

  // Where the brush is, without a button pressed.
  hover (point) {
    this.at = point
    this.say()
    this.viewer.marked()
  }

  leave () {
    if (this.stroke) return
    this.at = null
    this.viewer.marked()
  }

  begin (plane, point) {
    this.stroke = { points: [point], radius: this.radius, floor: this.viewer.settings.brushFrom ?? 0 }
    this.draw3d(point, point)
    this.hover(point)
  }

  follow (plane, point) {
    const { stroke } = this
    if (!stroke) return
    this.at = point
    const last = stroke.points.at(-1)
    const far = Math.hypot(...point.map((value, axis) => value - last[axis]))
    if (far >= Math.min(2, stroke.radius / 2) && stroke.points.length < MOST) {
      stroke.points.push(point)
      this.draw3d(last, point)
    }
    this.viewer.marked()
  }

  end () {
    const { stroke, viewer } = this
    if (!stroke) return
    this.stroke = null
    const points = stroke.points.map((point) => point.map((value) => Math.round(value * 10) / 10))
    const step = { points, radius: stroke.radius }
    // which lesion it belongs to is known once the strokes before it are measured
    const ask = this.kind === 'erase' ? { do: 'erase', ...step } : (now) => ({ do: 'brush', ...step, at_least: stroke.floor, id: lesionAt(now, points[0], stroke.radius) })
    viewer.lesions.apply(ask)
    viewer.moveTo(points.at(-1).slice())
  }

  cancel () {
    Object.assign(this, { stroke: null, at: null })
    this.viewer.marked()
  }

  // The voxels of a piece of the stroke, on the layer.
  draw3d (from, to) {
    const { volumes: { pet, lesions }, data: { volumes } } = this.viewer
    const layer = this.layer.volume ??= new Volume({ ...volumes.find(({ name }) => name === 'lesions'), highest: TAKES })
    const { radius, floor } = this.stroke
    const pieces = Math.max(1, Math.ceil(Math.hypot(...to.map((value, axis) => value - from[axis])) / (radius / 3)))
    for (let piece = 0; piece <= pieces; piece++) {
      const place = from.map((value, axis) => value + (to[axis] - value) * piece / pieces)
      for (const { offset } of voxels(layer, place, radius)) {
        if (this.kind === 'brush' ? pet.values[offset] * pet.scale >= floor : this.viewer.counts(lesions.values[offset]) || layer.values[offset] === ADDS) {
          layer.values[offset] = this.kind === 'brush' ? ADDS : TAKES
        }
      }
    }
    layer.here.fill(1)
    layer.version++
  }

  draw (context, plane) {
    if (!this.on || !this.at) return
    const off = Math.abs(this.at[plane.w] - this.viewer.point[plane.w])
    if (off >= this.radius) return
    const [x, y] = plane.pixel(this.at)
    for (const [width, colour] of [[3.5, SHADE], [1.5, INK[this.kind === 'brush' ? ADDS : TAKES]]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: colour })
      context.beginPath()
      context.arc(x, y, Math.sqrt(this.radius ** 2 - off ** 2) * plane.scale, 0, 2 * Math.PI)
      context.stroke()
    }
  }
}

// The lesion that a stroke from a point draws further: under it, else that with most voxels under the sphere.
function lesionAt (viewer, point, radius) {
  const { lesions } = viewer.volumes
  const here = lesions.at(point)
  if (viewer.counts(here)) return here
  const found = new Map()
  for (const { offset } of voxels(lesions, point, radius)) {
    const id = lesions.values[offset]
    if (viewer.counts(id)) found.set(id, (found.get(id) ?? 0) + 1)
  }
  return [...found].sort(([, a], [, b]) => b - a)[0]?.[0] ?? null
}

export const inkOf = (id) => INK[id]
