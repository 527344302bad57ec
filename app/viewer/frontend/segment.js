// Click to segment: the focus under a click is shown before it is taken; the wheel changes its threshold.

import { element, write } from './dom.js'
import { ask } from './reading.js'
import { Volume } from './volume.js'

const NOTCH = 0.03 // of the maximum, a notch of the wheel

export class Segment {
  constructor (viewer) {
    Object.assign(this, { viewer, on: false, focus: null, volume: null, wanted: null, waiting: false })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false', title: 'S' }, labels.segment)
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.keepButton = element('button', { type: 'button', className: 'primary' }, labels.keep)
    this.keepButton.addEventListener('click', () => this.keep())
    const cancel = element('button', { type: 'button' }, labels.cancel)
    cancel.addEventListener('click', () => this.cancel())
    this.words = element('span', { ariaLive: 'polite' })
    this.root = element('div', { className: 'segmenting', hidden: true }, this.words, this.keepButton, cancel)
  }

  get possible () { return Boolean(this.viewer.data.lesions.choices?.open && this.viewer.volumes.lesions) }

  turn (on) {
    this.on = on && this.possible
    this.button.ariaPressed = String(this.on)
    this.root.hidden = !this.on
    this.cancel()
  }

  press (plane, point) {
    this.viewer.moveTo(point)
    this.ask({ point: this.viewer.point.slice(), threshold: null })
  }

  // Whether the wheel belongs to the threshold now.
  wheel (notches) {
    if (!this.focus) return false
    const { focus } = this
    const now = this.wanted?.threshold ?? focus.threshold
    const threshold = Math.min(focus.highest, Math.max(focus.lowest, now + notches * NOTCH * focus.suv_max))
    this.ask({ point: focus.point, threshold })
    return true
  }

  // One question at a time; what was wanted meanwhile is asked next.
  async ask (wanted) {
    this.wanted = wanted
    if (this.waiting) return
    this.waiting = true
    const { data } = this.viewer
    write(this.words, data.labels.computing)
    while (this.wanted) {
      const asked = this.wanted
      this.wanted = null
      const answer = await ask(`${data.base}/lesions`, { do: 'preview', ...asked, language: data.locale }, data.labels.unreachable)
      if (!this.on) break
      if (answer.message) { this.drop(); write(this.words, answer.message) } else if (!this.wanted) this.show({ ...answer, point: asked.point })
    }
    this.waiting = false
  }

  show (focus) {
    const { viewer } = this
    this.focus = focus
    const description = viewer.data.volumes.find(({ name }) => name === 'lesions')
    this.volume = new Volume({ ...description, highest: 1 })
    const bytes = Uint8Array.from(atob(focus.runs), (character) => character.charCodeAt(0))
    this.volume.takeRuns(bytes.buffer)
    const { number } = viewer
    const value = (one, digits) => number.call(viewer, one, digits)
    write(this.words, `SUV ≥ ${value(focus.threshold, 1)} · SUVmax ${value(focus.suv_max, 1)} · ${value(focus.volume_ml, 1)} ml · ${viewer.data.labels.segment_help}`)
    this.keepButton.disabled = false
    viewer.marked()
  }

  drop () {
    Object.assign(this, { focus: null, volume: null, wanted: null })
    this.keepButton.disabled = true
    this.viewer.marked()
  }

  cancel () {
    this.drop()
    write(this.words, this.viewer.data.labels.segment_start)
  }

  keep () {
    if (!this.focus) return
    const { point, threshold } = this.focus
    this.cancel()
    this.viewer.lesions.apply({ do: 'grow', point, threshold })
  }
}
