// The liver as a reference: a sphere of 3 cm, which a reader may move. What hangs on it is measured by the server.

import { element, write } from './dom.js'
import { measure } from './marks.js'

const LIVER = '#a6e88c', LIVER_RIM = 'rgba(0, 0, 0, 0.7)'
const LIVER_MM = 15 // radius

export class LiverReference {
  // `moving` is where it is drawn while the button is down, `wanted` where it is until the server has measured it
  constructor (viewer) {
    Object.assign(this, { viewer, on: false, moving: null, wanted: null })
    const { labels } = viewer.data
    this.words = element('span', { ariaLive: 'polite' })
    const close = element('button', { type: 'button' }, labels.close)
    close.addEventListener('click', () => viewer.use(null))
    this.root = element('div', { className: 'segmenting', hidden: true }, this.words, close)
  }

  get given () { return this.viewer.data.lesions.liver }
  get possible () { return Boolean(this.given && this.viewer.data.lesions.choices?.open && this.viewer.volumes.pet) }
  get point () { return this.moving ?? this.wanted ?? this.given?.point }

  turn (on) {
    this.on = on && this.possible
    this.root.hidden = !this.on
    this.viewer.root.classList.toggle('measuring', this.on)
    this.moving = null
    this.button?.setAttribute('aria-pressed', String(this.on))
    this.say()
    this.viewer.marked()
  }

  say () {
    const { viewer, viewer: { data: { labels, quantity } } } = this
    const found = this.moving && measure(viewer.volumes.pet, { centre: this.moving, radius: LIVER_MM })
    const values = found ? `${quantity} ${viewer.number(found.mean, 2)} ± ${viewer.number(found.sd, 2)} · ` : ''
    write(this.words, `${labels.liver} · ${values}${labels.liver_help}`)
  }

  begin (plane, point) {
    this.moving = point
    this.say()
    this.viewer.marked()
  }

  follow (plane, point) { if (this.moving) this.begin(plane, point) }

  end () {
    if (!this.moving) return
    const point = this.moving.map((value) => Math.round(value * 10) / 10)
    this.moving = null
    this.place(point)
  }

  // The key takes it up, then puts it at the crosshair.
  press () {
    const { viewer } = this
    if (!this.on) viewer.use(this)
    else this.place(viewer.point.map((value) => Math.round(value * 10) / 10))
  }

  // A point in mm, or null for where it was found.
  place (point) {
    this.wanted = point
    this.viewer.lesions.apply({ do: 'liver', point })
    if (point) this.viewer.moveTo(point.slice())
    this.viewer.marked()
  }

  // Let go of the sphere; where none is held, of the tool.
  cancel () {
    if (!this.moving && this.on) this.viewer.use(null)
    this.moving = null
    this.viewer.marked()
  }

  // What the panel says of it.
  panel () {
    const { viewer, viewer: { data: { labels, lesions } }, given } = this
    if (!given) return []
    const button = (text, act, more = {}) => {
      const made = element('button', { type: 'button', ...more }, text)
      made.addEventListener('click', act)
      return made
    }
    const may = Boolean(lesions.choices?.open)
    this.button = may ? button(labels.liver_move, () => viewer.use(this.on ? null : this), { title: 'L', ariaPressed: String(this.on) }) : null
    const buttons = [
      ...(given.point ? [button(labels.liver_show, () => viewer.moveTo(given.point.slice()))] : []),
      ...(may ? [this.button] : []),
      ...(may && given.placed ? [button(labels.liver_reset, () => this.place(null))] : [])]
    return [element('div', { className: 'liver' }, element('p', {}, element('b', {}, labels.liver), ' ', given.text),
      ...given.remarks.map((remark) => element('p', { className: 'remark' }, remark)),
      element('p', {}, given.measurable), element('span', { className: 'change' }, ...buttons))]
  }

  draw (context, plane) {
    const { point, viewer } = this
    if (!point || !(this.on || viewer.settings.contours)) return
    const off = Math.abs(point[plane.w] - viewer.point[plane.w])
    if (off >= LIVER_MM) return
    const [x, y] = plane.pixel(point)
    const radius = Math.sqrt(LIVER_MM ** 2 - off ** 2) * plane.scale
    context.setLineDash(this.given.placed || this.moving || this.wanted ? [] : [2, 3])
    for (const [width, colour] of [[3.5, LIVER_RIM], [this.on ? 2.5 : 1.5, LIVER]]) {
      Object.assign(context, { lineWidth: width, strokeStyle: colour })
      context.beginPath()
      context.arc(x, y, radius, 0, 2 * Math.PI)
      context.stroke()
    }
    context.setLineDash([])
  }
}
