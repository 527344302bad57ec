// One plane of one layer: its canvas, what is drawn on it, and what the mouse and the keyboard do there.

import { inkOf } from './brush.js'
import { GREYS, PALETTES, overlay } from './colours.js'
import { element, write } from './dom.js'

const RIM = 'rgba(0, 0, 0, 0.55)', NOT_COUNTED = '#9aa7b0', REFERENCE = '#ffffff', LIVER_LABEL = 1
const NAVIGATION = new Set(['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'PageUp', 'PageDown', '+', '-', '0', '?'])
const CROSSHAIR = 'rgba(80, 255, 140, 0.85)', GAP = 9

export class Panel {
  constructor (viewer, plane, layer) {
    Object.assign(this, { viewer, plane, layer })
    const { labels } = viewer.data
    this.canvas = element('canvas', { tabIndex: 0, role: 'application' })
    this.canvas.setAttribute('aria-label', `${labels[plane.name]} – ${labels[layer]}. ${labels.keys}`)
    this.context = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true })
    this.position = element('span', { className: 'mark position' })
    this.ruler = element('span', { className: 'mark ruler', ariaHidden: 'true' })
    this.value = element('span', { className: 'mark value', ariaHidden: 'true' })
    const marks = ['left', 'right', 'top', 'bottom'].map((side) =>
      element('span', { className: `mark ${side}`, ariaHidden: 'true' }, labels[`side_${plane[side]}`]))
    this.root = element('div', { className: `panel ${plane.name} ${layer}` }, this.canvas,
      element('span', { className: 'mark title' }, `${labels[plane.name]} · ${labels[layer]}`), this.position, ...marks, this.value, this.ruler)
    this.canvas.addEventListener('keydown', (event) => this.press(event))
    this.listen()
  }

  listen () {
    const { canvas, viewer, plane, layer } = this
    let drag = null
    canvas.addEventListener('contextmenu', (event) => event.preventDefault())
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId)
      canvas.focus({ preventScroll: true })
      event.preventDefault()
      const pans = event.button !== 0 || event.shiftKey
      if (!pans && viewer.tool) {
        if (viewer.tool.drag || viewer.tool.begin) drag = { tool: viewer.tool, x: event.clientX, y: event.clientY }
        if (viewer.tool.begin) viewer.tool.begin(plane, this.pointAt(event))
        else if (!viewer.tool.drag) viewer.tool.press(plane, this.pointAt(event))
        return
      }
      drag = { pans, x: event.clientX, y: event.clientY }
      if (!pans) viewer.moveTo(this.pointAt(event))
    })
    canvas.addEventListener('pointermove', (event) => {
      viewer.tool?.follow?.(plane, this.pointAt(event))
      if (!drag) { this.hover(this.pointAt(event)); return }
      if (drag.tool) {
        drag.tool.drag?.(layer, event.clientX - drag.x, event.clientY - drag.y)
        Object.assign(drag, { x: event.clientX, y: event.clientY })
        return
      }
      if (!drag.pans) { viewer.moveTo(this.pointAt(event)); return }
      const ratio = canvas.width / canvas.clientWidth / plane.scale
      plane.pan = [plane.pan[0] + (drag.x - event.clientX) * ratio, plane.pan[1] + (drag.y - event.clientY) * ratio * plane.down]
      Object.assign(drag, { x: event.clientX, y: event.clientY })
      viewer.redraw()
    })
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { drag?.tool?.end?.(); drag = null })
    canvas.addEventListener('pointerleave', () => { write(this.value, ''); viewer.tool?.leave?.() })
    canvas.addEventListener('dblclick', () => { if (!viewer.tool) viewer.resetView() })
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault()
      const up = (event.deltaY || event.deltaX) < 0 // with Shift a wheel may turn sideways
      if (!event.ctrlKey && !event.shiftKey && viewer.tool?.wheel?.(up ? 1 : -1)) return
      if (event.ctrlKey || event.metaKey) viewer.zoomBy(up ? 1.2 : 1 / 1.2)
      else viewer.step(plane.w, up ? 1 : -1)
    }, { passive: false })
  }

  press (event) {
    const { viewer, plane } = this
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
      m: () => viewer.distances.put(plane, viewer.point.slice()),
      a: () => viewer.angles.put(plane, viewer.point.slice()),
      b: () => this.brush(viewer.brushes[0]),
      e: () => this.brush(viewer.brushes[1]),
      Delete: () => viewer.distances.removeLast(),
      Escape: () => { for (const one of [viewer.tool, viewer.distances, viewer.angles]) one?.cancel() },
      Enter: () => viewer.segment.keep(),
      s: () => { if (!viewer.segment.on) viewer.use(viewer.segment); if (viewer.segment.on) viewer.segment.press(plane, viewer.point.slice()) },
      r: () => { if (!viewer.spheres.on) viewer.use(viewer.spheres); viewer.spheres.press(plane, viewer.point.slice()) },
      l: () => viewer.liver.press(),
      w: () => viewer.use(viewer.windowing.on ? null : viewer.windowing),
      k: () => viewer.keyImages.add(),
      u: () => viewer.lesions.apply({ do: 'undo' }),
      y: () => viewer.lesions.apply({ do: 'redo' }),
      d: () => viewer.controls.unfold(),
      '[': () => viewer.tool?.wheel?.(-1),
      ']': () => viewer.tool?.wheel?.(1),
      '?': () => viewer.controls.keys.toggle(),
    }
    const action = actions[event.key] ?? actions[event.key.toLowerCase()]
    if (/^[1-9]$/.test(event.key)) viewer.controls.choose(viewer.modes[event.key - 1])
    if (viewer.host && !NAVIGATION.has(event.key)) return // of the earlier date nothing is measured or corrected
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    action()
  }

  // The key of a brush takes it up, then draws at the crosshair.
  brush (tool) {
    const { viewer, plane } = this
    if (!tool.on) { viewer.use(tool); return }
    tool.begin(plane, viewer.point.slice())
    tool.end()
  }

  pointAt (event) {
    const box = this.canvas.getBoundingClientRect()
    const { width, height } = this.plane
    return this.plane.pointAt((event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height)
  }

  // A length, in the lower right corner.
  showRuler () {
    const { plane, canvas, viewer } = this
    const mm = [100, 50, 20, 10, 5].find((one) => one * plane.scale < plane.width / 3) ?? 2
    write(this.ruler, `${viewer.number(mm / 10, mm < 10 ? 1 : 0)} cm`)
    this.ruler.style.width = `${mm * plane.scale * canvas.clientWidth / canvas.width}px`
  }

  // The values under the mouse.
  hover (point) {
    const { viewer, viewer: { volumes, data } } = this
    const parts = []
    if (volumes.pet) parts.push(`${data.quantity} ${viewer.number(volumes.pet.at(point), data.quantity === 'SUV' ? 2 : 0)}`)
    if (data.sul && volumes.pet) parts.push(`SUL ${viewer.number(volumes.pet.at(point) * data.sul, 2)}`)
    if (volumes.ct) parts.push(`${viewer.number(volumes.ct.at(point), 0)} ${data.labels.hu}`)
    write(this.value, parts.join(' · '))
    viewer.tool?.hover?.(point)
  }

  draw () {
    const { canvas, context, plane, viewer, layer } = this
    const { width, height } = plane
    if (!width || !height) return
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height })
      this.image = context.createImageData(width, height)
      this.painted = ''
    }
    this.paint()
    const [x, y] = plane.pixel(viewer.point)
    const drawn = [this.painted, x, y, viewer.drawings].join()
    if (drawn === this.drawn) return
    this.drawn = drawn
    context.putImageData(this.image, 0, 0)
    this.outline()
    this.references()
    crosshair(context, x, y, width, height)
    for (const one of [viewer.distances, viewer.angles, viewer.spheres, viewer.liver, ...viewer.brushes]) one.draw(context, plane)
    this.showRuler()
    this.root.classList.toggle('light', layer === 'pet' && viewer.settings.palette === 'grey')
    write(this.position, `${'xyz'[plane.w]} ${viewer.number(viewer.point[plane.w], 0)} mm`)
  }

  // Colour the levels, where they or the colours changed.
  paint () {
    const { plane, layer, viewer: { settings, volumes, fused } } = this
    const ct = layer !== 'pet' && volumes.ct ? plane.levels('ct') : null
    const pet = layer === 'ct' ? null : plane.levels('pet')
    const influence = volumes.saliency && settings.saliency > 0 ? plane.levels('saliency') : null
    const look = influence && [influence.key, settings.saliency, settings.threshold]
    const painted = [ct?.key, pet?.key, layer === 'fused' ? settings.opacity : settings.palette, look].join()
    if (painted === this.painted) return
    this.painted = painted
    const pixels = new Uint32Array(this.image.data.buffer)
    if (ct && pet) colourBoth(pixels, ct.levels, pet.levels, fused)
    else colour(pixels, (ct ?? pet).levels, ct ? GREYS : PALETTES[layer === 'pet' ? settings.palette : 'hot'])
    if (influence) overlay(pixels, influence.levels, settings.saliency, settings.threshold)
  }

  // Where healthy organs were measured.
  references () {
    const { context, plane, viewer } = this
    if (!viewer.settings.references || !viewer.volumes.references) return
    for (const [organ, path] of plane.contours(viewer.volumes.references)) {
      if (organ === LIVER_LABEL) continue // its sphere can be moved, and is drawn where it is now
      for (const [width, ink] of [[3.5, RIM], [1.5, REFERENCE]]) {
        Object.assign(context, { lineWidth: width, strokeStyle: ink })
        context.stroke(path)
      }
    }
  }

  // Lesions in their colours; uptake that is not counted, dashed.
  outline () {
    const { context, plane, viewer } = this
    if (!viewer.settings.contours || !viewer.volumes.lesions) return
    for (const [id, path] of plane.contours(viewer.volumes.lesions)) {
      const colour = viewer.colours.get(id)
      if (!colour && !viewer.settings.excluded) continue
      context.setLineDash(colour ? [] : [5, 4])
      // a dark rim keeps every colour visible on hot uptake
      for (const [width, ink] of [...(colour ? [[3.5, RIM]] : []), [1.5, colour ?? NOT_COUNTED]]) {
        Object.assign(context, { lineWidth: width, strokeStyle: ink })
        context.stroke(path)
      }
    }
    context.setLineDash([])
    for (const volume of [viewer.segment.volume, viewer.drawn.volume]) {
      for (const [id, path] of volume ? plane.contours(volume) : []) {
        for (const [width, ink] of [[4, RIM], [2, inkOf(id)]]) {
          Object.assign(context, { lineWidth: width, strokeStyle: ink })
          context.stroke(path)
        }
      }
    }
  }
}

function colour (pixels, levels, table) {
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[levels[i]]
}

function colourBoth (pixels, ct, pet, table) {
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[ct[i] << 8 | pet[i]]
}

function crosshair (context, x, y, width, height) {
  context.lineWidth = 1
  context.strokeStyle = CROSSHAIR
  context.beginPath()
  for (const [x1, y1, x2, y2] of [[0, y, x - GAP, y], [x + GAP, y, width, y], [x, 0, x, y - GAP], [x, y + GAP, x, height]]) {
    context.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5)
    context.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5)
  }
  context.stroke()
}
