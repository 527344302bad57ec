// The tools above the images, the settings that fold out below them, the legend and the keys.

import { WINDOWS } from './colours.js'
import { element, write } from './dom.js'

export class Controls {
  constructor (viewer) {
    this.viewer = viewer
    this.ranges = {}
    this.ticks = {}
    const { labels } = viewer.data
    const reset = element('button', { type: 'button' }, labels.reset)
    reset.addEventListener('click', () => viewer.resetView())
    this.keys = help(viewer)
    this.root = element('div', { className: 'controls' },
      element('div', { className: 'strip' }, this.modes(), this.tools(), reset, this.fold(), this.keys.button),
      this.settings, this.keys.root)
  }

  tools () {
    const { viewer } = this
    const { labels } = viewer.data
    const may = Boolean(viewer.data.lesions.choices?.open)
    const step = (name, sign) => {
      const button = element('button', { type: 'button', ariaLabel: labels[name], title: labels[name] }, sign)
      button.addEventListener('click', () => viewer.lesions.apply({ do: name }))
      return button
    }
    return element('div', { className: 'tools', role: 'group', ariaLabel: labels.tools }, viewer.windowing.button,
      ...(may ? [viewer.segment.button, ...viewer.brushes.map((brush) => brush.button)] : []), viewer.spheres.button, viewer.distances.button, viewer.angles.button, viewer.keyImages.button,
      ...(may ? [step('undo', '↶'), step('redo', '↷')] : []))
  }

  modes () {
    const { viewer } = this
    const buttons = viewer.modes.map((mode) => {
      const button = element('button', { type: 'button' }, viewer.data.labels[`mode_${mode}`])
      button.addEventListener('click', () => this.choose(mode))
      return button
    })
    this.showMode = () => buttons.forEach((button, i) => { button.ariaPressed = String(viewer.modes[i] === viewer.settings.mode) })
    this.showMode()
    return element('div', { className: 'modes', role: 'group', ariaLabel: viewer.data.labels.mode }, ...buttons)
  }

  choose (mode) {
    const { viewer } = this
    if (!viewer.modes.includes(mode)) return
    viewer.settings.mode = mode
    this.showMode()
    viewer.applyMode()
  }

  // The button that shows and hides the settings, which stay as they were left.
  fold () {
    const { viewer } = this
    const { labels } = viewer.data
    this.settings = element('div', { className: 'settings' },
      ...(viewer.has('ct') ? [this.choice('window', labels.window, [...Object.keys(WINDOWS), 'custom'].map((name) => [name, labels[`window_${name}`]]))] : []),
      this.choice('palette', labels.palette, [['grey', labels.palette_grey], ['hot', labels.palette_hot]]),
      ...this.uptake(),
      ...(viewer.has('ct') ? [this.range('opacity', labels.opacity, 0, 1, 0.05, 2)] : []),
      ...this.influence(),
      ...(viewer.has('lesions') ? [this.tick('contours', labels.contours)] : []),
      ...(viewer.data.lesions.rows.some((row) => !row.included) ? [this.tick('excluded', labels.excluded)] : []),
      ...(viewer.has('references') ? [this.tick('references', labels.references)] : []),
      legend(viewer))
    const button = element('button', { type: 'button', className: 'unfold' }, labels.display)
    const show = () => {
      button.ariaExpanded = String(Boolean(viewer.settings.unfolded))
      this.settings.hidden = !viewer.settings.unfolded
    }
    this.unfold = () => { viewer.settings.unfolded = !viewer.settings.unfolded; show(); viewer.redraw() }
    button.addEventListener('click', this.unfold)
    show()
    return button
  }

  // The range of the PET, in its own units where there is no SUV.
  uptake () {
    const { labels, quantity, highest } = this.viewer.data
    const [low, high, step, digits] = quantity === 'SUV' ? [5, 25, 0.1, 1] : [highest / 2, highest, highest / 200, 0]
    return [
      this.range('low', `${quantity} ${labels.from}`, 0, low, step, digits),
      this.range('high', `${quantity} ${labels.to}`, high * 0.08, high, 5 * step, digits)]
  }

  influence () {
    const { labels, influence } = this.viewer.data
    if (!influence) return []
    const verdict = element('p', { className: `verdict ${influence.shown ? 'pass' : 'fail'}` }, influence.verdict)
    const ranges = this.viewer.has('saliency')
      ? [this.range('saliency', labels.saliency_opacity, 0, 1, 0.05, 2), this.range('threshold', labels.saliency_threshold, 0, 0.9, 0.05, 2)]
      : []
    return [element('fieldset', {}, element('legend', {}, labels.influence), ...ranges, verdict)]
  }

  choice (name, label, options) {
    const { settings } = this.viewer
    const select = element('select', { name }, ...options.map(([value, text]) => element('option', { value, selected: value === settings[name] }, text)))
    select.addEventListener('change', () => { settings[name] = select.value; this.viewer.showPalette(); this.viewer.redraw() })
    return element('label', {}, element('span', {}, label), select)
  }

  tick (name, label) {
    const box = element('input', { type: 'checkbox', name, checked: this.viewer.settings[name] })
    box.addEventListener('change', () => { this.viewer.settings[name] = box.checked; this.viewer.marked() })
    this.ticks[name] = box
    return element('label', { className: 'tick' }, box, label)
  }

  range (name, label, min, max, step, digits) {
    const { settings } = this.viewer
    const value = element('output', {})
    const input = element('input', { type: 'range', name, min, max, step, value: settings[name] })
    const show = () => write(value, this.viewer.number(settings[name], digits))
    this.ranges[name] = (wanted) => { settings[name] = wanted; input.value = wanted; show() }
    input.addEventListener('input', () => {
      settings[name] = Number(input.value)
      // the range keeps some width
      if (name === 'low' && settings.high < settings.low + step) this.ranges.high(settings.low + 5 * step)
      if (name === 'high' && settings.low > settings.high - step) this.ranges.low(Math.max(0, settings.high - 5 * step))
      show()
      this.viewer.redraw()
    })
    show()
    return element('label', {}, element('span', {}, label, ' ', value), input)
  }
}

function legend (viewer) {
  const { labels } = viewer.data
  const entry = (name, text) => element('span', {}, element('i', { className: `bar ${name}` }), text)
  const pet = viewer.has('ct') ? entry('hot', labels.legend_pet) : entry(viewer.settings.palette, labels.pet)
  viewer.showPalette = () => { if (!viewer.has('ct')) pet.firstChild.className = `bar ${viewer.settings.palette}` }
  const items = [pet]
  if (viewer.has('saliency')) items.push(entry('raises', labels.legend_raises), entry('lowers', labels.legend_lowers))
  if (viewer.data.lesions.rows.some((row) => !row.included)) items.push(entry('dashed', labels.excluded))
  return element('p', { className: 'legend' }, ...items)
}

// The keys and what the mouse does; `?` shows and hides them.
function help ({ data: { labels } }) {
  const root = element('div', { className: 'keys', role: 'note', ariaLabel: labels.help, hidden: true },
    element('p', {}, labels.mouse), element('p', {}, labels.keys))
  const button = element('button', { type: 'button', ariaLabel: labels.help, title: labels.help, ariaExpanded: 'false' }, '?')
  const toggle = () => { root.hidden = !root.hidden; button.ariaExpanded = String(!root.hidden) }
  button.addEventListener('click', toggle)
  return { root, button, toggle }
}
