// Distances between two points of a plane: two clicks, or the key M at the crosshair, twice.

import { element, write } from './dom.js'

const LINE = '#ffe36e', DARK = 'rgba(0, 0, 0, 0.75)'

export class Measures {
  constructor (viewer) {
    Object.assign(this, { viewer, on: false, list: [], open: null })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false' }, labels.measure)
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.items = element('ul')
    this.root = element('div', { className: 'measures', hidden: true }, element('b', {}, labels.distances), this.items)
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

  // One end of a distance; the second end on the same slice makes it whole.
  put (plane, point) {
    const { open } = this
    if (open && this.lies(open, plane)) {
      this.list.push({ ...open, to: point })
      this.open = null
      this.show()
      this.viewer.keepMarks()
      write(this.viewer.status, this.text(this.list.at(-1)))
    } else {
      this.open = { plane: plane.name, w: plane.w, from: point, to: point }
    }
    this.changed()
  }

  follow (plane, point) {
    if (!this.open || !this.lies(this.open, plane)) return
    this.open.to = point
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

  lies ({ plane, w, from }, { name }) {
    const { point, volumes: { pet } } = this.viewer
    return plane === name && Math.abs(from[w] - point[w]) <= pet.spacing[w] / 2
  }

  text ({ from, to }) {
    return `${this.viewer.number(Math.hypot(...from.map((value, axis) => to[axis] - value)), 1)} mm`
  }

  // The list below the images.
  show () {
    const { labels } = this.viewer.data
    this.root.hidden = !this.list.length
    this.items.replaceChildren(...this.list.map((measure) => {
      const name = `${labels[measure.plane]} ${this.text(measure)}`
      const show = element('button', { type: 'button', title: labels.show }, name)
      show.addEventListener('click', () => this.viewer.moveTo(measure.from.slice()))
      const remove = element('button', { type: 'button', title: labels.remove, ariaLabel: `${labels.remove} : ${name}` }, '✕')
      remove.addEventListener('click', () => this.remove(measure))
      return element('li', {}, show, remove)
    }))
  }

  draw (context, plane) {
    for (const measure of this.open ? [...this.list, this.open] : this.list) {
      if (this.lies(measure, plane)) drawLine(context, plane.pixel(measure.from), plane.pixel(measure.to), this.text(measure))
    }
  }
}

function drawLine (context, [x1, y1], [x2, y2], text) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1
  const [dx, dy] = [(y2 - y1) / length * 5, (x1 - x2) / length * 5]
  const line = new Path2D()
  for (const [ax, ay, bx, by] of [[x1, y1, x2, y2], [x1 - dx, y1 - dy, x1 + dx, y1 + dy], [x2 - dx, y2 - dy, x2 + dx, y2 + dy]]) {
    line.moveTo(ax, ay)
    line.lineTo(bx, by)
  }
  context.font = '600 13px sans-serif'
  for (const [width, colour] of [[4, DARK], [1.5, LINE]]) {
    Object.assign(context, { lineWidth: width, strokeStyle: colour, fillStyle: colour })
    context.stroke(line)
    if (colour === DARK) context.strokeText(text, x2 + 9, y2 - 7)
    else context.fillText(text, x2 + 9, y2 - 7)
  }
}
