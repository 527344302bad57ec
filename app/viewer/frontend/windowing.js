// Window by drag: over the CT its centre and width, over the PET its upper end; and the bar that tells the range of the PET.

import { WINDOWS } from './colours.js'
import { clamp, element, write } from './dom.js'

const HU_A_PIXEL = 2

export class Windowing {
  constructor (viewer) {
    Object.assign(this, { viewer, on: false })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', ariaPressed: 'false', title: 'W' }, labels.windowing)
    this.button.addEventListener('click', () => viewer.use(this.on ? null : this))
    this.low = element('span')
    this.high = element('span')
    this.bar = element('i', { className: 'bar' })
    this.scale = element('span', { className: 'scale' }, element('b', {}, viewer.data.quantity), ' ', this.low, ' ', this.bar, ' ', this.high)
  }

  turn (on) {
    this.on = on
    this.button.ariaPressed = String(on)
  }

  cancel () {}

  drag (layer, dx, dy) {
    const { viewer, viewer: { settings, data } } = this
    if (layer === 'pet' || (layer === 'fused' && Math.abs(dy) > Math.abs(dx))) {
      const most = data.quantity === 'SUV' ? 25 : data.highest
      viewer.controls.ranges.high(clamp(settings.high * (1 + dy * 0.005), Math.max(settings.low * 1.1, most * 0.08), most))
    } else {
      const [low, high] = viewer.ctWindow
      const width = Math.max(10, high - low + dx * HU_A_PIXEL), centre = (low + high) / 2 + (layer === 'ct' ? dy * HU_A_PIXEL : 0)
      Object.assign(settings, { window: 'custom', custom: [centre - width / 2, centre + width / 2] })
    }
    viewer.redraw()
  }

  show () {
    const { viewer, viewer: { settings, data } } = this
    const digits = data.quantity === 'SUV' ? 1 : 0
    write(this.low, viewer.number(settings.low, digits))
    write(this.high, viewer.number(settings.high, digits))
    this.bar.className = `bar ${settings.mode === 'pet' ? settings.palette : viewer.has('ct') ? 'hot' : settings.palette}`
  }
}

export const windowOf = (settings) => settings.window === 'custom' && settings.custom ? settings.custom : WINDOWS[settings.window] ?? WINDOWS.soft
