// The maximum intensity projection, which turns.

import { PALETTES } from './colours.js'
import { clamp, element } from './dom.js'

const TURN_MS = 160

export class Projection {
  constructor (viewer) {
    Object.assign(this, { viewer, frame: 0, timer: 0, seen: true, ...viewer.data.mip })
    const { labels } = viewer.data
    this.canvas = element('canvas', { role: 'img', ariaLabel: labels.projection })
    this.context = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true })
    this.slider = element('input', { type: 'range', min: 0, max: this.frames - 1, value: 0, ariaLabel: labels.turned })
    this.button = element('button', { type: 'button' })
    this.root = element('div', { className: 'panel projection' }, this.canvas,
      element('span', { className: 'mark title' }, labels.projection),
      element('div', { className: 'turn' }, this.button, this.slider))
    this.slider.addEventListener('input', () => { this.play(false); this.show(Number(this.slider.value)) })
    this.button.addEventListener('click', () => this.play(!this.timer))
    this.canvas.addEventListener('pointerdown', (event) => viewer.moveTo(this.pointAt(event)))
    this.observer = new IntersectionObserver(([entry]) => { this.seen = entry.isIntersecting })
    this.observer.observe(this.canvas)
    this.turns = !matchMedia('(prefers-reduced-motion: reduce)').matches
    this.play(false, this.turns)
    if (viewer.host) this.begin(viewer.host.projection.frame, false) // it turns with the other
  }

  // As it was left.
  begin (frame = 0, turns = this.turns) {
    this.turns = turns
    this.frame = frame
    this.slider.value = frame
  }

  start (buffer) {
    this.values = new Uint8Array(buffer)
    this.small = element('canvas', { width: this.width, height: this.height })
    this.image = new ImageData(this.width, this.height)
    this.painted = ''
    this.play(this.turns)
    this.draw()
  }

  play (on, turns = on) {
    this.turns = turns
    clearInterval(this.timer)
    this.timer = on ? setInterval(() => this.turn(), TURN_MS) : 0
    this.button.textContent = on ? '❚❚' : '►'
    this.button.ariaLabel = on ? this.viewer.data.labels.pause : this.viewer.data.labels.play
  }

  // Nobody looks at what is scrolled away.
  turn () {
    if (this.seen && !document.hidden) this.show((this.frame + 1) % this.frames)
  }

  show (frame) {
    this.frame = frame
    this.slider.value = frame
    this.draw()
    this.viewer.turned(frame)
  }

  get angle () { return 2 * Math.PI * this.frame / this.frames }

  view () {
    const { low, high } = this.viewer
    const { width, height } = this.canvas
    const across = Math.max(high[0] - low[0], high[1] - low[1])
    return { scale: Math.min(width / across, height / (high[2] - low[2])), middle: (low[2] + high[2]) / 2 }
  }

  across (point) {
    return (point[0] - this.centre[0]) * Math.cos(this.angle) + (point[1] - this.centre[1]) * Math.sin(this.angle)
  }

  pointAt (event) {
    const box = this.canvas.getBoundingClientRect()
    const ratio = this.canvas.width / box.width
    const { scale, middle } = this.view()
    const point = this.viewer.point.slice()
    const moved = ((event.clientX - box.left) * ratio - this.canvas.width / 2) / scale - this.across(point)
    point[0] += moved * Math.cos(this.angle)
    point[1] += moved * Math.sin(this.angle)
    point[2] = middle - ((event.clientY - box.top) * ratio - this.canvas.height / 2) / scale
    return point
  }

  draw () {
    const { canvas, context, viewer } = this
    if (!this.values || !canvas.width) return
    this.paint(viewer.settings)
    this.root.classList.toggle('light', viewer.settings.palette === 'grey')
    context.fillStyle = viewer.settings.palette === 'grey' ? '#fff' : '#000'
    context.fillRect(0, 0, canvas.width, canvas.height)
    const { scale, middle } = this.view()
    const width = this.width * this.spacing * scale, height = this.height * this.spacing * scale
    const top = canvas.height / 2 - (this.top + this.spacing / 2 - middle) * scale
    context.drawImage(this.small, canvas.width / 2 - width / 2, top, width, height)
    context.strokeStyle = 'rgba(0, 140, 70, 0.9)'
    context.lineWidth = 1.5
    context.beginPath()
    const x = canvas.width / 2 + this.across(viewer.point) * scale
    context.arc(x, canvas.height / 2 - (viewer.point[2] - middle) * scale, 8, 0, 2 * Math.PI)
    context.stroke()
  }

  // The frame at its own resolution, where it or its colours changed.
  paint ({ palette, low, high }) {
    const painted = [this.frame, palette, low, high].join()
    if (painted === this.painted) return
    this.painted = painted
    const table = Uint32Array.from({ length: 256 }, (_, value) =>
      PALETTES[palette][Math.round(255 * clamp((value * this.scale - low) / (high - low), 0, 1))])
    const pixels = new Uint32Array(this.image.data.buffer)
    const start = this.frame * pixels.length
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[this.values[start + i]]
    this.small.getContext('2d').putImageData(this.image, 0, 0)
  }

  destroy () {
    clearInterval(this.timer)
    this.observer.disconnect()
  }
}
