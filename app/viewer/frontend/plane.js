// One plane through the crosshair: where it is shown, its levels and its contours. Its panels (CT, PET, fused) share them.
//
// Display is radiological: the patient's right is on the left of axial and coronal planes.

export const PLANES = {
  axial: { u: 0, v: 1, w: 2, down: 1, left: 'R', right: 'L', top: 'A', bottom: 'P' },
  coronal: { u: 0, v: 2, w: 1, down: -1, left: 'R', right: 'L', top: 'H', bottom: 'F' },
  sagittal: { u: 1, v: 2, w: 0, down: -1, left: 'A', right: 'P', top: 'H', bottom: 'F' },
}

export class Plane {
  constructor (viewer, name) {
    Object.assign(this, PLANES[name], { viewer, name, width: 0, height: 0, pan: [0, 0], kept: {} })
  }

  // Canvas pixels per mm.
  get scale () {
    const { low, high, zoom } = this.viewer
    return zoom * Math.min(this.width / (high[this.u] - low[this.u]), this.height / (high[this.v] - low[this.v]))
  }

  // The point in the middle of the canvas, mm along u and v.
  get middle () {
    const { low, high } = this.viewer
    return [this.u, this.v].map((axis, side) => (low[axis] + high[axis]) / 2 + this.pan[side])
  }

  // Canvas pixel of a point.
  pixel (point) {
    const { scale, middle: [u, v] } = this
    return [(point[this.u] - u) * scale + this.width / 2, (point[this.v] - v) * scale * this.down + this.height / 2]
  }

  // The point of this plane under a canvas pixel.
  pointAt (x, y) {
    const { scale, middle: [u, v] } = this
    const point = this.viewer.point.slice()
    point[this.u] = u + (x - this.width / 2) / scale
    point[this.v] = v + (y - this.height / 2) / scale * this.down
    return point
  }

  // Move the view so that the crosshair is in it.
  reveal () {
    const [x, y] = this.pixel(this.viewer.point)
    const far = (pixel, size) => Math.abs(pixel - size / 2) > size * 0.48
    if (!far(x, this.width) && !far(y, this.height)) return
    const { low, high, point } = this.viewer
    this.pan = [this.u, this.v].map((axis) => point[axis] - (low[axis] + high[axis]) / 2)
  }

  // Where it is and how it is seen: what everything drawn in it depends on.
  get place () {
    return [this.width, this.height, this.scale, this.middle, this.viewer.point[this.w]].join()
  }

  // Pixel centres along u and v as the voxels of a volume.
  pixels (volume) {
    const { scale, middle: [u, v], width, height, down } = this
    return [
      volume.pixels(this.u, u + (0.5 - width / 2) / scale, 1 / scale, width),
      volume.pixels(this.v, v + (0.5 - height / 2) / scale * down, down / scale, height),
    ]
  }

  // Levels of a volume as it is shown now, computed anew only where something changed: `key` tells them apart.
  levels (name) {
    const volume = this.viewer.volumes[name]
    const { gain, bias, outside } = this.viewer.shown(name)
    const key = [this.place, gain, bias, volume.version].join()
    const kept = this.kept[name] ??= {}
    if (kept.key === key) return kept
    const count = this.width * this.height
    if (kept.levels?.length !== count) kept.levels = new Uint8ClampedArray(count)
    const [us, vs] = this.pixels(volume)
    volume.sample(this, this.viewer.point[this.w], us, vs, { gain, bias, outside, out: kept.levels, width: this.width })
    kept.key = key
    return kept
  }

  // Borders of the label voxels as they are, as one path for each label.
  contours (volume) {
    const { lesions, references } = this.viewer.volumes
    const kept = this.kept[volume === lesions ? 'contours' : volume === references ? 'organs' : 'preview'] ??= {}
    const key = `${this.place},${volume.version}`
    if (kept.key !== key) Object.assign(kept, { key, paths: this.trace(volume) })
    return kept.paths
  }

  trace (volume) {
    const { ids, columns, rows } = volume.labels(this, this.viewer.point[this.w])
    const { scale, middle, u, v, down } = this
    const x = (i) => (volume.origin[u] + (i - 0.5) * volume.spacing[u] - middle[0]) * scale + this.width / 2
    const y = (j) => (volume.origin[v] + (j - 0.5) * volume.spacing[v] - middle[1]) * scale * down + this.height / 2
    const paths = new Map()
    const path = (id) => paths.get(id) ?? paths.set(id, new Path2D()).get(id)
    const across = (j, from, to) => (line) => { line.moveTo(x(from), y(j)); line.lineTo(x(to), y(j)) }
    const along = (i, from, to) => (line) => { line.moveTo(x(i), y(from)); line.lineTo(x(i), y(to)) }
    for (let j = 0; j <= rows; j++) {
      edges(ids, columns, j > 0 ? (j - 1) * columns : -1, j < rows ? j * columns : -1, 1, (id, from, to) => across(j, from, to)(path(id)))
    }
    for (let i = 0; i <= columns; i++) {
      edges(ids, rows, i > 0 ? i - 1 : -1, i < columns ? i : -1, columns, (id, from, to) => along(i, from, to)(path(id)))
    }
    return paths
  }
}

// Runs of one label's border between two lines of voxels, which begin at `near` and `far` (-1: outside).
function edges (ids, count, near, far, step, draw) {
  let id = 0, from = 0
  for (let i = 0; i <= count; i++) {
    const a = near < 0 || i === count ? 0 : ids[near + i * step]
    const b = far < 0 || i === count ? 0 : ids[far + i * step]
    const border = a === b ? 0 : b || a
    if (border === id) continue
    if (id) draw(id, from, i)
    id = border
    from = i
  }
}
