// PET/CT viewer on 2D canvases: axial, coronal and sagittal planes of CT, PET and both fused, one crosshair through all,
// a projection that turns, contours, the influence map and distances. No WebGL and no dependency, so that it runs on any
// desk. Streamlit mounts it (components, version 2).

import { Brush } from './brush.js'
import { fusion } from './colours.js'
import { Controls } from './controls.js'
import { KeyImages } from './keys.js'
import { clamp, element, write } from './dom.js'
import { Lesions } from './lesions.js'
import { LiverReference } from './liver.js'
import { loadFile, loadSlices, size } from './loading.js'
import { Spheres } from './marks.js'
import { Measures } from './measures.js'
import { Panel } from './panel.js'
import { PLANES, Plane } from './plane.js'
import { Projection } from './projection.js'
import { ask } from './reading.js'
import { Segment } from './segment.js'
import { Volume } from './volume.js'
import { Windowing, windowOf } from './windowing.js'

const MAX_ZOOM = 12
const WHILE_LOADING_MS = 300 // between two drawings of what has come
const ALOUD_MS = 600 // of rest before the values are read aloud
const MARKS = new Map() // of each case, as last changed on this page: newer than what a page drawn meanwhile was given
const REMEMBER_MS = 300 // of rest before the view is remembered
const MOVED = 'fedpet-viewer-moved' // sent to the viewers of one page when a linked one moves

class Viewer {
  constructor (parent, data, kept, send) {
    Object.assign(this, { data, volumes: kept ?? {}, pending: 0, aloud: 0, remembering: 0, zoom: 1, drawings: 0, leaving: new AbortController() })
    this.host = data.host ?? null // the viewer beside which an earlier date is shown
    ;[this.low, this.high, this.point] = this.host ? this.placed() : [...data.body, data.focus.slice()]
    const first = this.has('ct') ? 'fused' : 'pet'
    this.modes = [...(this.has('ct') ? ['mip', 'fused', 'pet', 'ct', 'grid'] : ['mip', 'pet']), ...(data.earlier ? ['dates'] : [])]
    this.layers = { mip: first, dates: first }
    this.settings = this.host?.settings ?? { mode: this.modes[0], ...data.settings }
    this.colours = new Map(data.lesions.rows.filter((row) => row.included).map((row) => [row.id, row.colour]))
    this.numbers = [0, 1, 2].map((digits) => new Intl.NumberFormat(data.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }))
    const earlier = this.host ? null : recall(this)
    Object.assign(this.settings, earlier?.settings)
    this.build(parent, send)
    if (earlier?.stamp === data.stamp) this.restore(earlier)
    const marks = MARKS.get(data.base) ?? data.marks
    if (data.marks) {
      this.distances.restore(marks.distances ?? [])
      this.angles.restore(marks.angles ?? [])
      this.spheres.restore(marks.spheres ?? [])
      this.keyImages.restore(marks.keys ?? [])
    }
    this.link()
    this.load(Boolean(kept))
  }

  has (name) { return this.data.volumes.some((volume) => volume.name === name) }
  counts (id) { return this.colours.has(id) }
  number (value, digits) { return Number.isFinite(value) ? this.numbers[digits].format(value) : '–' }

  build (parent, send) {
    const { labels } = this.data
    this.planes = Object.keys(PLANES).map((name) => new Plane(this, name))
    const layers = this.has('ct') ? ['ct', 'pet', 'fused'] : ['pet']
    this.panels = layers.flatMap((layer) => this.planes.map((plane) => new Panel(this, plane, layer)))
    this.projection = new Projection(this)
    this.tool = null
    this.distances = new Measures(this, 'distance')
    this.angles = new Measures(this, 'angle')
    this.spheres = new Spheres(this)
    this.segment = new Segment(this)
    this.drawn = { volume: null } // by the brushes, until it is measured
    this.brushes = ['brush', 'erase'].map((kind) => new Brush(this, kind, this.drawn))
    this.liver = new LiverReference(this)
    this.windowing = new Windowing(this)
    this.keyImages = new KeyImages(this)
    this.controls = new Controls(this)
    this.lesions = new Lesions(this, () => send({ reading: 'confirmed' }))
    this.status = element('p', { className: 'unseen', role: 'status' })
    this.loaded = element('progress', { max: 1, value: 0, ariaLabel: labels.loading })
    this.loadingText = element('span', {}, labels.loading)
    this.loading = element('p', { className: 'loading' }, this.loadingText, this.loaded)
    this.screen = element('div', { className: 'screen' }, ...this.panels.map((panel) => panel.root), this.projection.root)
    this.caption = element('p', { className: 'caption', hidden: true }, element('b', {}, this.data.date ?? ''))
    this.underDate = element('span')
    this.caption.append(this.underDate, element('span', { className: 'aligned' }, this.data.note ?? ''))
    this.pair = element('div', { className: 'pair' }, element('div', { className: 'one' }, this.caption, this.screen))
    this.other = null
    const { panel, link } = this.data
    const readout = this.buildReadout()
    const parts = this.host
      ? [this.pair, this.loading]
      : [this.controls.root, this.pair, this.loading, this.segment.root, ...this.brushes.map((brush) => brush.root), this.liver.root, readout,
          this.spheres.root, this.distances.root, this.angles.root, this.keyImages.root, this.status]
    const main = element('div', { className: 'main' }, ...parts)
    this.root = element('section', { className: `viewer${panel ? ' beside' : ''}${link ? ' linked' : ''}${this.host ? ' earlier' : ''}`, ariaLabel: labels.viewer },
      main, ...(panel ? [this.lesions.root] : []))
    parent.append(this.root)
    this.observer = new ResizeObserver(() => this.resize())
    this.observer.observe(this.screen)
    window.addEventListener('pagehide', () => { remember(this); if (this.keeping) this.sendMarks() }, { signal: this.leaving.signal })
    this.applyMode()
  }

  buildReadout () {
    const { labels, quantity } = this.data
    const names = [labels.position, ...(this.has('ct') ? [labels.ct] : []), quantity,
      ...(this.has('saliency') ? [labels.saliency] : []), ...(this.has('lesions') ? [labels.lesion] : [])]
    this.tellsInfluence = this.has('saliency')
    this.values = names.map(() => element('span', { className: 'value' }))
    return element('p', { className: 'readout' }, ...names.map((name, i) => element('span', {}, element('b', {}, name), ' ', this.values[i])), this.windowing.scale)
  }

  // What was seen before the page was reloaded or changed its language.
  restore ({ point, zoom, pans, distances, angles, frame, turns }) {
    if (!this.data.link) this.point = point
    this.zoom = zoom
    this.planes.forEach((plane, i) => { plane.pan = pans[i] })
    if (!this.data.marks) { this.distances.restore(distances); this.angles.restore(angles) }
    this.projection.begin(frame, turns)
  }

  async load (loaded) {
    try {
      if (loaded) this.projection.start(this.volumes.mip)
      await this.fetchAll()
      if (this.leaving.signal.aborted) return
      this.loading.hidden = true
      this.spheres.show()
      this.redraw()
      this.root.dataset.ready = 'yes'
    } catch (error) {
      if (this.leaving.signal.aborted) return
      write(this.loadingText, `${this.data.labels.failed} (${error.message})`)
      this.root.dataset.ready = 'failed'
    }
  }

  // PET, lesions and projection first: with them the images can be read; then the CT, from the crosshair outwards.
  async fetchAll () {
    const { mip, base } = this.data
    const volumes = this.data.volumes.filter(({ name }) => !this.volumes[name])
    const projected = Boolean(this.volumes.mip)
    const total = volumes.reduce((sum, volume) => sum + size(volume), projected ? 1 : mip.frames * mip.width * mip.height)
    const { signal } = this.leaving
    let done = 0, drawn = 0
    const arrived = (bytes) => {
      done += bytes
      this.loaded.value = done / total
      if (performance.now() - drawn < WHILE_LOADING_MS) return
      drawn = performance.now()
      this.redraw()
    }
    const fetchOne = async (description) => {
      const volume = new Volume(description)
      this.volumes[description.name] = volume
      const url = `${base}/${description.name}.bin`
      if (description.dtype === 'runs') volume.takeRuns(await loadFile(url, { signal, arrived }))
      else await loadSlices(volume, url, { signal, arrived, nearest: () => (this.point[2] - volume.origin[2]) / volume.spacing[2] })
    }
    const named = (...names) => volumes.filter((volume) => names.includes(volume.name))
    await Promise.all([
      ...named('pet', 'lesions').map(fetchOne),
      ...(projected ? [] : [loadFile(`${base}/mip.bin`, { signal, arrived }).then((buffer) => { this.volumes.mip = buffer; this.projection.start(buffer) })])])
    this.root.dataset.ready = 'pet'
    this.redraw()
    for (const volume of named('references', 'ct', 'saliency')) await fetchOne(volume)
  }

  // How stored values become levels.
  shown (name) {
    const { scale } = this.volumes[name]
    if (name === 'saliency') return { gain: 127 * scale, bias: 128, outside: 128 }
    const [low, high] = name === 'ct' ? this.ctWindow : [this.settings.low, this.settings.high]
    return { gain: 255 * scale / (high - low), bias: -255 * low / (high - low), outside: 0 }
  }

  get ctWindow () { return windowOf(this.settings) }

  get fused () {
    const { opacity } = this.settings
    if (this.fusion?.opacity !== opacity) this.fusion = { opacity, table: fusion(opacity) }
    return this.fusion.table
  }

  applyMode () {
    const { mode } = this.settings
    this.screen.dataset.mode = mode
    const layer = this.layers[mode] ?? mode
    for (const panel of this.panels) panel.root.hidden = mode !== 'grid' && panel.layer !== layer
    this.showDates(mode === 'dates')
    this.resize()
  }

  // The earlier examination beside this one, at the same place, zoom, window and angle.
  showDates (wanted) {
    const { data, data: { earlier, labels } } = this
    const two = wanted && Boolean(earlier)
    this.caption.hidden = !two && !this.host
    this.pair.classList.toggle('two', two)
    if (two && !this.other) {
      const named = Object.fromEntries(['viewer', 'lesions'].map((name) => [name, `${labels[name]}, ${earlier.date}`]))
      const without = { references: [], reading: null, influence: null, marks: null, earlier: null, link: null, panel: false, settings: {} }
      const kept = beside.of === filesOf(earlier) ? beside.volumes : null
      this.other = new Viewer(this.pair, { ...earlier, ...without, host: this, locale: data.locale, labels: { ...labels, ...named } }, kept, () => {})
    }
    if (!two && this.other) {
      this.other.destroy()
      this.other = null
    }
    this.other?.applyMode()
  }

  // What this examination's viewer shows of the body, and where, as the other one does.
  placed () {
    const { host, data } = this
    const moved = (point) => point.map((value, axis) => value + data.shift[axis])
    return [moved(host.low), moved(host.high), moved(host.point)]
  }

  // Follow the other date.
  mirror (other) {
    const [{ shift }, sign] = this.host ? [this.data, 1] : [other.data, -1]
    this.point = other.point.map((value, axis) => value + sign * shift[axis])
    this.zoom = other.zoom
    this.planes.forEach((plane, i) => { plane.pan = other.planes[i].pan.slice() })
    this.following = true
    this.redraw()
    this.following = false
  }

  get partner () { return this.host ?? (this.settings.mode === 'dates' ? this.other : null) }

  // The projection turned.
  turned (frame) {
    const { partner } = this
    if (partner && partner.projection.frame !== frame) partner.projection.show(frame)
  }

  resize () {
    const ratio = Math.min(window.devicePixelRatio || 1, 1.5)
    const pixels = (canvas) => ({ width: Math.round(canvas.clientWidth * ratio), height: Math.round(canvas.clientHeight * ratio) })
    for (const panel of this.panels) if (!panel.root.hidden) Object.assign(panel.plane, pixels(panel.canvas))
    Object.assign(this.projection.canvas, pixels(this.projection.canvas))
    this.redraw()
  }

  resetView () {
    this.zoom = 1
    for (const plane of this.planes) plane.pan = [0, 0]
    this.redraw()
  }

  // Around the crosshair.
  zoomBy (factor) {
    const zoom = clamp(this.zoom * factor, 1, MAX_ZOOM)
    if (zoom === 1) { this.resetView(); return }
    for (const plane of this.planes) {
      const middle = plane.middle
      plane.pan = [plane.u, plane.v].map((axis, side) => plane.pan[side] + (this.point[axis] - middle[side]) * (1 - this.zoom / zoom))
    }
    this.zoom = zoom
    this.redraw()
  }

  step (axis, count) {
    const { pet } = this.volumes
    if (!pet) return
    const point = this.point.slice()
    point[axis] += count * pet.spacing[axis]
    this.moveTo(point)
  }

  moveTo (point, followed = false) {
    const { pet } = this.volumes
    if (!pet) return
    this.point = point.map((value, axis) => clamp(value, pet.origin[axis], pet.origin[axis] + pet.spacing[axis] * (pet.size[axis] - 1)))
    for (const plane of this.planes) plane.reveal()
    if (this.data.link && !followed) document.dispatchEvent(new CustomEvent(MOVED, { detail: this }))
    this.redraw()
  }

  // Follow the other viewers of the page whose `link` has the same name; `shift` (mm) takes our points to theirs.
  link () {
    const { link } = this.data
    if (!link) return
    document.addEventListener(MOVED, ({ detail: other }) => {
      if (other === this || other.data.link.name !== link.name) return
      this.moveTo(other.point.map((value, axis) => value + other.data.link.shift[axis] - link.shift[axis]), true)
    }, { signal: this.leaving.signal })
  }

  // One tool at a time; without one the mouse moves the crosshair.
  use (tool) {
    this.tool?.turn(false)
    this.tool = tool
    tool?.turn(true)
    if (tool && !tool.on) this.tool = null
    if (this.other) this.other.tool = this.tool === this.windowing ? this.tool : null
  }

  // Measurements and key images are kept with the case, by the server, a moment after the last change.
  keepMarks () {
    if (!this.data.marks) return
    clearTimeout(this.keeping)
    MARKS.set(this.data.base, this.listed())
    this.keeping = setTimeout(() => this.sendMarks(), REMEMBER_MS)
  }

  listed () {
    return { distances: this.distances.list, angles: this.angles.list, spheres: this.spheres.list, keys: this.keyImages.list }
  }

  async sendMarks () {
    clearTimeout(this.keeping)
    this.keeping = 0
    const marks = this.listed()
    const { message } = await ask(`${this.data.base}/marks`, { marks, language: this.data.locale }, this.data.labels.unreachable)
    if (message) write(this.status, message)
    else this.data.marks = marks
  }

  // What the server says of the lesions after a correction: the list beside the images, and their outlines on them.
  async takeLesions ({ lesions, entry }) {
    this.data.lesions = lesions
    const volume = new Volume(entry)
    const labels = await loadFile(`${this.data.base}/lesions.bin`, { arrived: () => {} })
    volume.takeRuns(labels)
    this.data.volumes = this.data.volumes.filter(({ name }) => !['lesions', 'saliency'].includes(name)).concat(entry)
    delete this.volumes.saliency
    this.volumes.lesions = volume
    this.colours = new Map(lesions.rows.filter((row) => row.included).map((row) => [row.id, row.colour]))
    this.lesions.renew()
    this.marked()
  }

  // Nothing that was drawn waits to be measured any more.
  forgetDrawn () {
    this.drawn.volume = null
    this.liver.wanted = null
    this.marked()
  }

  // Something drawn over the images changed.
  marked () {
    this.drawings++
    this.redraw()
  }

  redraw () {
    if (!this.following) this.partner?.mirror(this)
    if (this.pending || !this.volumes.pet) return
    this.pending = requestAnimationFrame(() => {
      this.pending = 0
      const start = performance.now()
      for (const panel of this.panels) if (!panel.root.hidden && (panel.layer !== 'ct' || this.volumes.ct)) panel.draw()
      this.projection.draw()
      this.showValues()
      clearTimeout(this.remembering)
      this.remembering = setTimeout(() => remember(this), REMEMBER_MS)
      this.root.dispatchEvent(new CustomEvent('redrawn', { detail: performance.now() - start }))
    })
  }

  // What a lesion is called: its number in the report, and that of its focus where it is another.
  nameOf (id) { return this.data.lesions.rows.find((row) => row.id === id)?.name ?? String(id) }

  // The values under the crosshair.
  showValues () {
    const { labels, quantity } = this.data
    const at = (name) => this.volumes[name]?.at(this.point) ?? NaN
    const lesion = at('lesions')
    const place = [['L', 'R'], ['P', 'A'], ['H', 'F']].map(([plus, minus], axis) =>
      `${labels[`side_${this.point[axis] < 0 ? minus : plus}`]} ${this.number(Math.abs(this.point[axis]), 0)}`)
    const values = [`${place.join('  ')} mm`]
    if (this.has('ct')) values.push(`${this.number(at('ct'), 0)} ${labels.hu}`)
    values.push(this.number(at('pet'), quantity === 'SUV' ? 2 : 0))
    if (this.tellsInfluence) values.push(this.number(at('saliency'), 2))
    if (this.has('lesions')) values.push(lesion > 0 ? this.counts(lesion) ? this.nameOf(lesion) : `(${this.nameOf(lesion)})` : '–')
    values.forEach((value, i) => write(this.values[i], value))
    const told = [`${quantity} ${this.number(at('pet'), quantity === 'SUV' ? 2 : 0)}`]
    if (this.has('ct')) told.push(`${this.number(at('ct'), 0)} ${labels.hu}`)
    if (lesion > 0) told.push(`${labels.lesion} ${this.nameOf(lesion)}`)
    write(this.underDate, told.join(' · '))
    this.windowing.show()
    this.lesions.mark(lesion)
    clearTimeout(this.aloud)
    this.aloud = setTimeout(() => write(this.status, [...this.root.querySelectorAll('.readout > span')].map((part) => part.textContent).join(', ')), ALOUD_MS)
  }

  destroy () {
    remember(this)
    if (this.host && this.root.dataset.ready === 'yes') Object.assign(beside, { of: filesOf(this.data), volumes: this.volumes })
    this.other?.destroy()
    if (this.keeping) this.sendMarks()
    this.leaving.abort()
    cancelAnimationFrame(this.pending)
    for (const timer of [this.aloud, this.remembering]) clearTimeout(timer)
    this.use(null)
    this.projection.destroy()
    this.observer.disconnect()
    this.root.remove()
  }
}

// The volumes of the earlier date that was shown last, for when the page is drawn again.
const beside = { of: '', volumes: null }
const filesOf = ({ base, stamp, volumes }) => JSON.stringify([base, stamp, volumes.map(({ name, stamp }) => [name, stamp])])

// The view of a case stays in this tab (no longer), under the random identifier of the case.
const place = ({ data }) => `fedpet-view ${data.base} ${data.link?.name ?? ''}`

function remember (viewer) {
  const { data: { stamp, quantity }, settings, point, zoom, planes, distances, angles, projection } = viewer
  if (!viewer.volumes.pet || viewer.host) return
  try {
    sessionStorage.setItem(place(viewer), JSON.stringify({ stamp, quantity, settings, point, zoom, pans: planes.map((plane) => plane.pan), distances: distances.list, angles: angles.list, frame: projection.frame, turns: projection.turns }))
  } catch {} // full or forbidden: the view is then not remembered
}

function recall (viewer) {
  try {
    const view = JSON.parse(sessionStorage.getItem(place(viewer)))
    return view?.quantity === viewer.data.quantity && viewer.modes.includes(view.settings.mode) ? view : null
  } catch { return null }
}

// What is loaded of the same images: lesions and influence map only where they are unchanged too.
function stillTrue ({ data: before, volumes, root }, data) {
  if (before.base !== data.base || before.stamp !== data.stamp || root.dataset.ready !== 'yes') return null
  const stamps = new Map(data.volumes.map(({ name, stamp }) => [name, stamp]))
  const kept = before.volumes.filter(({ name, stamp }) => stamps.get(name) === stamp).map(({ name }) => [name, volumes[name]])
  return Object.fromEntries([...kept, ['mip', volumes.mip]])
}

// What a viewer is drawn from: the marks are newer on this page than what the server knew when it drew it.
const shownBy = ({ marks, ...data }) => JSON.stringify(data)

const viewers = new WeakMap()

export default function ({ parentElement, data, setTriggerValue }) {
  const open = viewers.get(parentElement)
  if (open && shownBy(open.data) === shownBy(data)) return
  open?.destroy()
  const kept = open ? stillTrue(open, data) : null
  const viewer = new Viewer(parentElement, data, kept, (choice) => setTriggerValue('choice', choice))
  viewers.set(parentElement, viewer)
  return () => {
    if (viewers.get(parentElement) === viewer) viewers.delete(parentElement)
    viewer.destroy()
  }
}
