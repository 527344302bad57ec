// PET/CT viewer on 2D canvases: axial, coronal and sagittal planes of CT, PET and both fused, one crosshair through all,
// a rotating projection, lesion contours and a saliency overlay. No WebGL and no dependency, so that it runs on any desk.
//
// Coordinates are LPS millimetres: x to the patient's left, y to the back, z to the head. Volumes lie on axis-aligned
// grids (see volumes.py). Display is radiological: the patient's right is on the left of axial and coronal planes.

const PLANES = {
  axial: { u: 0, v: 1, w: 2, down: 1, left: 'R', right: 'L', top: 'A', bottom: 'P' },
  coronal: { u: 0, v: 2, w: 1, down: -1, left: 'R', right: 'L', top: 'H', bottom: 'F' },
  sagittal: { u: 1, v: 2, w: 0, down: -1, left: 'A', right: 'P', top: 'H', bottom: 'F' },
}
const LAYERS = ['ct', 'pet', 'fused']
const WINDOWS = { soft: [-160, 240], lung: [-1350, 150], bone: [-450, 1050], liver: [-45, 105] } // HU
const LESION_COLOURS = ['#00e5ff', '#7cfc00', '#ff4df0', '#ffd000', '#5aa9ff', '#ff8a3d', '#b388ff', '#00ffa2']
const RAISES = [235, 60, 235] // saliency that raises the risk
const LOWERS = [30, 215, 200] // saliency that lowers it
const MAX_ZOOM = 12
const TYPES = { int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array }

const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
const palette = (colour) => Uint8Array.from({ length: 768 }, (_, i) => 255 * clamp(colour((i / 3 | 0) / 255)[i % 3], 0, 1))
const PALETTES = {
  grey: palette((x) => [1 - x, 1 - x, 1 - x]),
  hot: palette((x) => [2.7 * x, 2.7 * x - 1, 3.7 * x - 2.7]),
}
const lesionColour = (id) => LESION_COLOURS[(id - 1) % LESION_COLOURS.length]

// One volume; `scale` takes stored to shown values.
class Volume {
  constructor (description, buffer) {
    const [slices, rows, columns] = description.shape
    this.values = new TYPES[description.dtype](buffer)
    this.size = [columns, rows, slices]
    this.stride = [1, columns, columns * rows]
    this.spacing = description.spacing
    this.origin = description.origin
    this.scale = description.scale
  }

  // Nearest value at a point, or NaN outside.
  at (point) {
    let offset = 0
    for (let axis = 0; axis < 3; axis++) {
      const index = Math.round((point[axis] - this.origin[axis]) / this.spacing[axis])
      if (index < 0 || index >= this.size[axis]) return NaN
      offset += index * this.stride[axis]
    }
    return this.values[offset] * this.scale
  }

  // Offsets of positions along an axis (-1 outside) and, for linear interpolation, the part of the next voxel.
  locate (axis, positions, linear) {
    const last = this.size[axis] - 1
    const offset = new Int32Array(positions.length)
    const part = new Float32Array(positions.length)
    for (let i = 0; i < positions.length; i++) {
      const index = (positions[i] - this.origin[axis]) / this.spacing[axis]
      if (!(index >= -0.5 && index <= last + 0.5)) { offset[i] = -1; continue }
      const base = linear ? clamp(Math.floor(index), 0, Math.max(0, last - 1)) : clamp(Math.round(index), 0, last)
      offset[i] = base * this.stride[axis]
      part[i] = linear ? clamp(index - base, 0, 1) : 0
    }
    return { offset, part, step: last > 0 ? this.stride[axis] : 0 }
  }

  // Sample the plane at `w` mm over positions `us` x `vs` mm into `out`, row by row.
  slice (plane, us, vs, w, out, { linear, outside }) {
    const u = this.locate(plane.u, us, linear)
    const v = this.locate(plane.v, vs, linear)
    const d = this.locate(plane.w, [w], linear)
    const { values, scale } = this
    if (d.offset[0] < 0) { out.fill(outside); return }
    for (let j = 0, k = 0; j < vs.length; j++) {
      const row = v.offset[j]
      for (let i = 0; i < us.length; i++, k++) {
        const column = u.offset[i]
        if (row < 0 || column < 0) { out[k] = outside; continue }
        const p = row + column + d.offset[0]
        if (!linear) { out[k] = values[p] * scale; continue }
        const fu = u.part[i], fv = v.part[j], fd = d.part[0]
        const upper = values[p] + (values[p + u.step] - values[p]) * fu
        const q = p + v.step
        let value = upper + (values[q] + (values[q + u.step] - values[q]) * fu - upper) * fv
        if (fd > 0) {
          const r = p + d.step, s = r + v.step
          const far = values[r] + (values[r + u.step] - values[r]) * fu
          value += (far + (values[s] + (values[s + u.step] - values[s]) * fu - far) * fv - value) * fd
        }
        out[k] = value * scale
      }
    }
  }
}

// Bytes of a file, reported as they arrive.
async function download (url, report) {
  const response = await fetch(url, { credentials: 'same-origin', cache: 'no-store' })
  // an unknown route answers with the page itself
  if (!response.ok || response.headers.get('content-type') !== 'application/octet-stream') throw new Error(`HTTP ${response.status}`)
  const bytes = new Uint8Array(Number(response.headers.get('content-length')))
  const reader = response.body.getReader()
  for (let filled = 0; ;) {
    const { done, value } = await reader.read()
    if (done) return bytes.buffer
    bytes.set(value, filled)
    filled += value.length
    report(value.length)
  }
}

function element (tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== 'list') made[name] = value
    else made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

// One plane of one layer.
class Panel {
  constructor (viewer, plane, layer) {
    Object.assign(this, { viewer, layer, name: plane, plane: PLANES[plane] })
    const { labels } = viewer.data
    this.canvas = element('canvas', { tabIndex: 0, role: 'application' })
    this.canvas.setAttribute('aria-label', `${labels[plane]} – ${labels[layer]}. ${labels.keys}`)
    this.position = element('span', { className: 'mark position' })
    const marks = ['left', 'right', 'top', 'bottom'].map((side) =>
      element('span', { className: `mark ${side}`, ariaHidden: 'true' }, this.plane[side]))
    this.root = element('div', { className: `panel ${plane} ${layer}` }, this.canvas,
      element('span', { className: 'mark title' }, `${labels[plane]} · ${labels[layer]}`), this.position, ...marks)
    this.listen()
  }

  listen () {
    const { canvas, viewer, plane } = this
    let drag = null
    canvas.addEventListener('contextmenu', (event) => event.preventDefault())
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId)
      canvas.focus({ preventScroll: true })
      drag = { pan: event.button !== 0 || event.shiftKey, x: event.clientX, y: event.clientY }
      if (!drag.pan) viewer.moveTo(this.pointAt(event))
      event.preventDefault()
    })
    canvas.addEventListener('pointermove', (event) => {
      if (!drag) return
      if (!drag.pan) { viewer.moveTo(this.pointAt(event)); return }
      const { scale } = this.view()
      const ratio = canvas.width / canvas.clientWidth / scale
      viewer.pan(this.name, (drag.x - event.clientX) * ratio, (drag.y - event.clientY) * ratio * plane.down)
      Object.assign(drag, { x: event.clientX, y: event.clientY })
    })
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { drag = null })
    canvas.addEventListener('dblclick', () => viewer.resetView())
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault()
      if (event.ctrlKey || event.metaKey) viewer.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2)
      else viewer.step(plane.w, event.deltaY < 0 ? 1 : -1)
    }, { passive: false })
    canvas.addEventListener('keydown', (event) => {
      const times = event.shiftKey ? 5 : 1
      const actions = {
        ArrowLeft: () => viewer.step(plane.u, -times),
        ArrowRight: () => viewer.step(plane.u, times),
        ArrowUp: () => viewer.step(plane.v, -times * plane.down),
        ArrowDown: () => viewer.step(plane.v, times * plane.down),
        PageUp: () => viewer.step(plane.w, times),
        PageDown: () => viewer.step(plane.w, -times),
        '+': () => viewer.zoomBy(1.2),
        '-': () => viewer.zoomBy(1 / 1.2),
        0: () => viewer.resetView(),
      }
      if (!actions[event.key]) return
      event.preventDefault()
      actions[event.key]()
    })
  }

  // Canvas pixels per mm and the point in the middle of the canvas.
  view () {
    const { low, high } = this.viewer
    const { u, v } = this.plane
    const { width, height } = this.canvas
    const fit = Math.min(width / (high[u] - low[u]), height / (high[v] - low[v]))
    const [du, dv] = this.viewer.pans[this.name]
    return { scale: fit * this.viewer.zoom, u: (low[u] + high[u]) / 2 + du, v: (low[v] + high[v]) / 2 + dv }
  }

  pointAt (event) {
    const { canvas, plane } = this
    const box = canvas.getBoundingClientRect()
    const { scale, u, v } = this.view()
    const point = this.viewer.point.slice()
    point[plane.u] = u + ((event.clientX - box.left) / box.width * canvas.width - canvas.width / 2) / scale
    point[plane.v] = v + ((event.clientY - box.top) / box.height * canvas.height - canvas.height / 2) / scale * plane.down
    return point
  }

  // Move the view so that the crosshair is in it.
  reveal () {
    const { canvas, plane, viewer } = this
    const { scale, u, v } = this.view()
    const far = (axis, middle, size) => Math.abs(viewer.point[axis] - middle) * scale > size * 0.48
    if (far(plane.u, u, canvas.width) || far(plane.v, v, canvas.height)) {
      const { low, high } = viewer
      viewer.pans[this.name] = [plane.u, plane.v].map((axis) => viewer.point[axis] - (low[axis] + high[axis]) / 2)
    }
  }

  draw () {
    const { canvas, plane, viewer, layer } = this
    const { width, height } = canvas
    if (!width || !height) return
    const { scale, u, v } = this.view()
    const us = Float64Array.from({ length: width }, (_, i) => u + (i + 0.5 - width / 2) / scale)
    const vs = Float64Array.from({ length: height }, (_, j) => v + plane.down * (j + 0.5 - height / 2) / scale)
    const context = canvas.getContext('2d', { alpha: false })
    const image = context.createImageData(width, height)
    this.paint(image.data, us, vs, viewer.settings)
    context.putImageData(image, 0, 0)
    if (viewer.settings.contours && viewer.volumes.lesions) this.outline(context, us, vs)
    const x = (viewer.point[plane.u] - u) * scale + width / 2
    const y = (viewer.point[plane.v] - v) * scale * plane.down + height / 2
    crosshair(context, x, y, width, height)
    this.root.classList.toggle('light', layer === 'pet' && viewer.settings.palette === 'grey')
    this.position.textContent = `${'xyz'[plane.w]} ${viewer.number(viewer.point[plane.w], 0)} mm`
    if (layer === 'fused' || viewer.settings.mode !== 'grid') canvas.dataset.drawn = viewer.point.map((c) => c.toFixed(1)).join(' ')
  }

  paint (pixels, us, vs, settings) {
    const { viewer, plane, layer } = this
    const { ct, pet, saliency } = viewer.volumes
    const w = viewer.point[plane.w]
    const count = us.length * vs.length
    const sample = (volume, outside) => {
      const out = new Float32Array(count)
      volume.slice(plane, us, vs, w, out, { linear: true, outside })
      return out
    }
    const grey = ct && layer !== 'pet' ? sample(ct, -2000) : null
    const uptake = layer !== 'ct' && (layer === 'pet' || settings.opacity > 0) ? sample(pet, 0) : null
    const overlay = saliency && settings.saliency > 0 ? sample(saliency, 0) : null
    const [low, high] = WINDOWS[settings.window]
    const colours = PALETTES[layer === 'pet' ? settings.palette : 'hot']
    const gain = 255 / (settings.high - settings.low)
    for (let i = 0, o = 0; i < count; i++, o += 4) {
      let r = 0, g = 0, b = 0
      if (grey) r = g = b = clamp((grey[i] - low) / (high - low), 0, 1) * 255
      if (uptake) {
        const p = clamp((uptake[i] - settings.low) * gain, 0, 255) | 0
        const alpha = layer === 'pet' || !grey ? 1 : settings.opacity * Math.min(1, p / 48)
        r += (colours[3 * p] - r) * alpha
        g += (colours[3 * p + 1] - g) * alpha
        b += (colours[3 * p + 2] - b) * alpha
      }
      if (overlay) {
        const strength = (Math.abs(overlay[i]) - settings.threshold) / (1.0001 - settings.threshold)
        if (strength > 0) {
          const alpha = settings.saliency * Math.min(1, 0.35 + strength)
          const colour = overlay[i] > 0 ? RAISES : LOWERS
          r += (colour[0] - r) * alpha
          g += (colour[1] - g) * alpha
          b += (colour[2] - b) * alpha
        }
      }
      pixels[o] = r; pixels[o + 1] = g; pixels[o + 2] = b; pixels[o + 3] = 255
    }
  }

  // The borders of the label voxels, as they are.
  outline (context, us, vs) {
    const width = us.length, height = vs.length
    const labels = new Float32Array(width * height)
    this.viewer.volumes.lesions.slice(this.plane, us, vs, this.viewer.point[this.plane.w], labels, { linear: false, outside: 0 })
    const paths = new Map()
    const path = (id) => paths.get(id) ?? paths.set(id, new Path2D()).get(id)
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const here = labels[i]
        const right = x + 1 < width ? labels[i + 1] : here
        const below = y + 1 < height ? labels[i + width] : here
        if (here !== right) { const line = path(here || right); line.moveTo(x + 1, y); line.lineTo(x + 1, y + 1) }
        if (here !== below) { const line = path(here || below); line.moveTo(x, y + 1); line.lineTo(x + 1, y + 1) }
      }
    }
    context.lineWidth = 1.5
    for (const [id, line] of paths) { context.strokeStyle = lesionColour(id); context.stroke(line) }
  }
}

function crosshair (context, x, y, width, height) {
  const gap = 9
  context.lineWidth = 1
  context.strokeStyle = 'rgba(80, 255, 140, 0.85)'
  context.beginPath()
  for (const [x1, y1, x2, y2] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
    context.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5)
    context.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5)
  }
  context.stroke()
}

// The rotating maximum intensity projection.
class Projection {
  constructor (viewer) {
    Object.assign(this, { viewer, frame: 0, timer: 0, ...viewer.data.mip })
    const { labels } = viewer.data
    this.canvas = element('canvas', { role: 'img', ariaLabel: labels.projection })
    this.slider = element('input', { type: 'range', min: 0, max: this.frames - 1, value: 0, ariaLabel: labels.angle })
    this.button = element('button', { type: 'button', className: 'small' })
    this.root = element('div', { className: 'panel projection' }, this.canvas,
      element('span', { className: 'mark title' }, labels.projection),
      element('div', { className: 'turn' }, this.button, this.slider))
    this.slider.addEventListener('input', () => { this.play(false); this.show(Number(this.slider.value)) })
    this.button.addEventListener('click', () => this.play(!this.timer))
    this.canvas.addEventListener('pointerdown', (event) => viewer.moveTo(this.pointAt(event)))
    this.play(false)
  }

  start (buffer) {
    this.values = new Uint8Array(buffer)
    this.buffer = element('canvas', { width: this.width, height: this.height })
    this.play(!matchMedia('(prefers-reduced-motion: reduce)').matches)
  }

  play (on) {
    clearInterval(this.timer)
    this.timer = on ? setInterval(() => this.show((this.frame + 1) % this.frames), 160) : 0
    this.button.textContent = on ? '❚❚' : '►'
    this.button.ariaLabel = on ? this.viewer.data.labels.pause : this.viewer.data.labels.play
  }

  show (frame) {
    this.frame = frame
    this.slider.value = frame
    this.draw()
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
    const { canvas, viewer, width, height } = this
    if (!this.values || !canvas.width) return
    const { settings } = viewer
    const colours = PALETTES[settings.palette]
    const small = this.buffer.getContext('2d')
    const image = small.createImageData(width, height)
    const start = this.frame * width * height
    for (let i = 0; i < width * height; i++) {
      const p = clamp((this.values[start + i] * this.scale - settings.low) / (settings.high - settings.low), 0, 1) * 255 | 0
      image.data.set([colours[3 * p], colours[3 * p + 1], colours[3 * p + 2], 255], 4 * i)
    }
    small.putImageData(image, 0, 0)
    this.root.classList.toggle('light', settings.palette === 'grey')
    const context = canvas.getContext('2d', { alpha: false })
    context.fillStyle = settings.palette === 'grey' ? '#fff' : '#000'
    context.fillRect(0, 0, canvas.width, canvas.height)
    const { scale, middle } = this.view()
    const left = canvas.width / 2 - width * this.spacing * scale / 2
    const top = canvas.height / 2 - (this.top + this.spacing / 2 - middle) * scale
    context.imageSmoothingQuality = 'high'
    context.drawImage(this.buffer, left, top, width * this.spacing * scale, height * this.spacing * scale)
    const x = canvas.width / 2 + this.across(viewer.point) * scale
    const y = canvas.height / 2 - (viewer.point[2] - middle) * scale
    context.strokeStyle = 'rgba(0, 140, 70, 0.9)'
    context.lineWidth = 1.5
    context.beginPath()
    context.arc(x, y, 8, 0, 2 * Math.PI)
    context.stroke()
  }
}

class Viewer {
  constructor (parent, data, volumes) {
    Object.assign(this, { parent, data, volumes: volumes ?? {}, alive: true, pending: 0, spoken: 0 })
    ;[this.low, this.high] = data.body
    this.point = data.focus.slice()
    this.settings = { mode: data.volumes.some((v) => v.name === 'ct') ? 'fused' : 'pet', ...data.settings }
    this.numbers = [0, 1, 2].map((digits) => new Intl.NumberFormat(data.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }))
    this.resetView()
    this.build()
    this.load(Boolean(volumes))
  }

  number (value, digits) { return Number.isFinite(value) ? this.numbers[digits].format(value) : '–' }

  build () {
    const { labels } = this.data
    this.panels = LAYERS.flatMap((layer) => Object.keys(PLANES).map((plane) => new Panel(this, plane, layer)))
    this.projection = new Projection(this)
    this.readout = element('p', { className: 'readout' })
    this.speech = element('p', { className: 'unseen', role: 'status' })
    this.screen = element('div', { className: 'screen' }, ...this.panels.map((panel) => panel.root), this.projection.root)
    this.root = element('section', { className: 'viewer', ariaLabel: labels.viewer }, this.controls(), this.screen,
      this.readout, this.speech, this.legend(), this.lesionTable(), this.help())
    this.parent.append(this.root)
    this.observer = new ResizeObserver(() => this.resize())
    this.observer.observe(this.screen)
    this.applyMode()
  }

  controls () {
    const { labels } = this.data
    const has = (name) => this.data.volumes.some((volume) => volume.name === name)
    const modes = has('ct') ? ['fused', 'pet', 'ct', 'grid'] : ['pet']
    this.modeButtons = modes.map((mode) => {
      const button = element('button', { type: 'button' }, labels[`mode_${mode}`])
      button.dataset.mode = mode
      button.addEventListener('click', () => { this.settings.mode = mode; this.applyMode() })
      return button
    })
    const items = [element('div', { className: 'modes', role: 'group', ariaLabel: labels.mode }, ...this.modeButtons)]
    if (has('ct')) items.push(this.choice('window', labels.window, Object.keys(WINDOWS).map((name) => [name, labels[`window_${name}`]])))
    items.push(this.choice('palette', labels.palette, [['grey', labels.palette_grey], ['hot', labels.palette_hot]]))
    // the PET in its own units where there is no SUV
    const { quantity, highest } = this.data
    const [low, high, step, digits] = quantity === 'SUV' ? [5, 25, 0.1, 1] : [highest / 2, highest, highest / 200, 0]
    items.push(
      this.range('low', `${quantity} ${labels.from}`, 0, low, step, digits),
      this.range('high', `${quantity} ${labels.to}`, high * 0.08, high, 5 * step, digits))
    if (has('ct')) items.push(this.range('opacity', labels.opacity, 0, 1, 0.05, 2))
    if (has('saliency')) {
      items.push(this.range('saliency', labels.saliency_opacity, 0, 1, 0.05, 2), this.range('threshold', labels.saliency_threshold, 0, 0.9, 0.05, 2))
    }
    const contours = element('input', { type: 'checkbox', name: 'contours', checked: this.settings.contours })
    contours.addEventListener('change', () => { this.settings.contours = contours.checked; this.redraw() })
    const reset = element('button', { type: 'button', className: 'small' }, labels.reset)
    reset.addEventListener('click', () => this.resetView())
    items.push(element('label', { className: 'tick' }, contours, labels.contours), reset)
    return element('div', { className: 'controls' }, ...items)
  }

  choice (name, label, options) {
    const select = element('select', { name }, ...options.map(([value, text]) => element('option', { value, selected: value === this.settings[name] }, text)))
    select.addEventListener('change', () => { this.settings[name] = select.value; this.redraw() })
    return element('label', {}, element('span', {}, label), select)
  }

  range (name, label, min, max, step, digits) {
    const value = element('output', {}, this.number(this.settings[name], digits))
    const input = element('input', { type: 'range', name, min, max, step, value: this.settings[name] })
    input.addEventListener('input', () => {
      this.settings[name] = Number(input.value)
      value.textContent = this.number(this.settings[name], digits)
      if (this.settings.high <= this.settings.low) this.settings.high = this.settings.low + 0.5
      this.redraw()
    })
    return element('label', {}, element('span', {}, label, ' ', value), input)
  }

  legend () {
    const { labels } = this.data
    const items = [element('span', {}, element('i', { className: 'bar hot' }), labels.legend_pet)]
    if (this.data.volumes.some((volume) => volume.name === 'saliency')) {
      items.push(element('span', {}, element('i', { className: 'bar raises' }), labels.legend_raises),
        element('span', {}, element('i', { className: 'bar lowers' }), labels.legend_lowers))
    }
    return element('p', { className: 'legend' }, ...items)
  }

  lesionTable () {
    const { labels, lesions } = this.data
    if (!lesions.rows.length) return element('p', { className: 'none' }, labels.no_lesion)
    this.rows = new Map()
    const body = element('tbody')
    for (const { id, name, point, cells } of lesions.rows) {
      const button = element('button', { type: 'button', title: labels.jump }, element('i', { className: 'dot' }), name)
      button.firstChild.style.background = lesionColour(id)
      button.addEventListener('click', () => this.moveTo(point.slice()))
      const row = element('tr', {}, element('th', { scope: 'row' }, button), ...cells.map((cell) => element('td', {}, cell)))
      this.rows.set(id, row)
      body.append(row)
    }
    const head = element('tr', {}, ...lesions.columns.map((column) => element('th', { scope: 'col' }, column)))
    return element('div', { className: 'lesions', tabIndex: 0, role: 'region', ariaLabel: labels.lesions },
      element('table', {}, element('caption', {}, labels.lesions), element('thead', {}, head), body))
  }

  help () {
    const { labels } = this.data
    return element('details', {}, element('summary', {}, labels.help), element('p', {}, labels.mouse), element('p', {}, labels.keys))
  }

  async load (loaded) {
    try {
      if (!loaded) await this.fetchAll()
      if (!this.alive) return
      this.resize()
      this.projection.start(this.volumes.mip)
      this.root.dataset.ready = 'yes'
    } catch (error) {
      this.readout.textContent = `${this.data.labels.failed} (${error.message})`
      this.root.dataset.ready = 'failed'
    }
  }

  async fetchAll () {
    const { volumes, mip, base, labels } = this.data
    const bytes = (description) => description.shape.reduce((product, size) => product * size, TYPES[description.dtype].BYTES_PER_ELEMENT)
    const total = volumes.reduce((sum, volume) => sum + bytes(volume), mip.frames * mip.width * mip.height)
    let done = 0
    const report = (count) => {
      done += count
      this.readout.textContent = `${labels.loading} ${Math.round(100 * done / total)} %`
    }
    for (const volume of volumes) this.volumes[volume.name] = new Volume(volume, await download(`${base}/${volume.name}.bin`, report))
    this.volumes.mip = await download(`${base}/mip.bin`, report)
  }

  applyMode () {
    this.screen.dataset.mode = this.settings.mode
    for (const button of this.modeButtons) button.ariaPressed = String(button.dataset.mode === this.settings.mode)
    for (const panel of this.panels) panel.root.hidden = this.settings.mode !== 'grid' && panel.layer !== this.settings.mode
    this.resize()
  }

  resize () {
    const ratio = Math.min(window.devicePixelRatio || 1, 1.5)
    for (const { canvas } of [...this.panels, this.projection]) {
      canvas.width = Math.round(canvas.clientWidth * ratio)
      canvas.height = Math.round(canvas.clientHeight * ratio)
    }
    this.redraw()
  }

  resetView () {
    this.zoom = 1
    this.pans = { axial: [0, 0], coronal: [0, 0], sagittal: [0, 0] }
    this.redraw()
  }

  zoomBy (factor) {
    this.zoom = clamp(this.zoom * factor, 1, MAX_ZOOM)
    if (this.zoom === 1) { this.resetView(); return }
    // the crosshair stays where it is on the screen
    for (const { name, plane } of this.panels.slice(0, 3)) {
      this.pans[name] = this.pans[name].map((shift, side) => {
        const axis = side ? plane.v : plane.u
        const middle = (this.low[axis] + this.high[axis]) / 2
        return this.point[axis] - middle - (this.point[axis] - middle - shift) / factor
      })
    }
    this.redraw()
  }

  pan (plane, du, dv) {
    this.pans[plane] = [this.pans[plane][0] + du, this.pans[plane][1] + dv]
    this.redraw()
  }

  step (axis, count) {
    const point = this.point.slice()
    point[axis] += count * this.volumes.pet.spacing[axis]
    this.moveTo(point)
  }

  moveTo (point) {
    const { pet } = this.volumes
    if (!pet) return
    this.point = point.map((value, axis) => clamp(value, pet.origin[axis], pet.origin[axis] + pet.spacing[axis] * (pet.size[axis] - 1)))
    for (const panel of this.panels) if (!panel.root.hidden) panel.reveal()
    this.redraw()
  }

  redraw () {
    if (this.pending || !this.volumes.pet || !this.panels) return
    this.pending = requestAnimationFrame(() => {
      this.pending = 0
      if (!this.alive) return
      for (const panel of this.panels) if (!panel.root.hidden) panel.draw()
      this.projection.draw()
      this.tell()
    })
  }

  tell () {
    const { labels } = this.data
    const at = (name) => this.volumes[name]?.at(this.point) ?? NaN
    const lesion = at('lesions')
    const [x, y, z] = this.point
    const place = [[x, 'L', 'R'], [y, 'P', 'A'], [z, 'H', 'F']].map(([mm, plus, minus]) => `${mm < 0 ? minus : plus} ${this.number(Math.abs(mm), 0)}`)
    const parts = [[labels.position, `${place.join('  ')} mm`], [labels.ct, `${this.number(at('ct'), 0)} ${labels.hu}`], [this.data.quantity, this.number(at('pet'), 2)]]
    if (this.volumes.saliency) parts.push([labels.saliency, this.number(at('saliency'), 2)])
    parts.push([labels.lesion, lesion > 0 ? String(lesion) : '–'])
    this.readout.replaceChildren(...parts.map(([name, value]) => element('span', {}, element('b', {}, name), ` ${value}`)))
    if (this.rows) for (const [id, row] of this.rows) row.classList.toggle('here', id === lesion)
    clearTimeout(this.spoken)
    this.spoken = setTimeout(() => { this.speech.textContent = parts.map((part) => part.join(' ')).join(', ') }, 600)
  }

  destroy () {
    this.alive = false
    this.projection.play(false)
    clearTimeout(this.spoken)
    this.observer.disconnect()
    this.root.remove()
  }
}

const viewers = new WeakMap()

export default function ({ parentElement, data }) {
  const open = viewers.get(parentElement)
  if (open && open.data.case === data.case && open.data.locale === data.locale) return
  open?.destroy()
  const kept = open?.data.case === data.case && open.root.dataset.ready === 'yes' ? open.volumes : null
  const viewer = new Viewer(parentElement, data, kept)
  viewers.set(parentElement, viewer)
  return () => {
    if (viewers.get(parentElement) === viewer) viewers.delete(parentElement)
    viewer.destroy()
  }
}
