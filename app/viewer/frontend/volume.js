// A volume on a grid along the patient's axes (see volumes.py), and how a plane is cut out of it.
//
// Points are LPS millimetres: x to the patient's left, y to the back, z to the head.

import { clamp } from './dom.js'

const TYPES = { int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array }
const NOT_HERE = -32768 // of a CT whose slice is still to come: blacker than air

// A piece of memory that is used again and again, one for each purpose.
const scratch = {}
function borrow (purpose, type, length) {
  if (!scratch[purpose] || scratch[purpose].length < length) scratch[purpose] = new type(length)
  return scratch[purpose]
}

export class Volume {
  // `scale` takes stored to shown values
  constructor ({ shape: [slices, rows, columns], spacing, origin, scale, dtype, highest }) {
    Object.assign(this, { spacing, origin, scale, size: [columns, rows, slices], stride: [1, columns, columns * rows] })
    const Type = dtype === 'runs' ? (highest < 256 ? Uint8Array : Uint16Array) : TYPES[dtype]
    this.values = new Type(slices * rows * columns)
    if (dtype === 'int16') this.values.fill(NOT_HERE)
    this.here = new Uint8Array(slices) // the slices that have come
    this.version = Volume.made = (Volume.made ?? 0) + 1e6 // counts what has come, and tells volumes apart
  }

  // Take slices as they come from the server.
  take (slice, buffer) {
    const values = new this.values.constructor(buffer)
    this.values.set(values, slice * this.stride[2])
    this.here.fill(1, slice, slice + values.length / this.stride[2])
    this.version++
  }

  // Take labels as runs of (first voxel, length, label); every other voxel is 0.
  takeRuns (buffer) {
    const runs = new Uint32Array(buffer)
    for (let i = 0; i < runs.length; i += 3) this.values.fill(runs[i + 2], runs[i], runs[i] + runs[i + 1])
    this.here.fill(1)
    this.version++
  }

  // Voxel position of a point along an axis, NaN outside; whole numbers are voxel centres.
  index (axis, mm) {
    const index = (mm - this.origin[axis]) / this.spacing[axis]
    return index >= -0.5 && index <= this.size[axis] - 0.5 ? index : NaN
  }

  // Value of the nearest voxel, NaN outside or where it has not come yet.
  at (point) {
    let offset = 0
    for (let axis = 0; axis < 3; axis++) {
      const index = Math.min(Math.round(this.index(axis, point[axis])), this.size[axis] - 1)
      if (!(index >= 0) || (axis === 2 && !this.here[index])) return NaN
      offset += index * this.stride[axis]
    }
    return this.values[offset] * this.scale
  }

  // The voxel of a label where another volume is highest, mm; of several, that nearest to a point; the point where there is none.
  hottest (label, values, point) {
    let found = point, highest = -Infinity, least = Infinity
    const [columns, rows] = this.size
    for (let i = this.values.indexOf(label); i >= 0; i = this.values.indexOf(label, i + 1)) {
      const place = [i % columns, Math.floor(i / columns) % rows, Math.floor(i / this.stride[2])]
        .map((index, axis) => this.origin[axis] + index * this.spacing[axis])
      const value = values.at(place), far = Math.hypot(...place.map((mm, axis) => mm - point[axis]))
      if (value > highest || (value === highest && far < least)) [found, highest, least] = [place, value, far]
    }
    return found
  }

  // The pixels `first + i * step` mm (i < count) along an axis, as voxels: pixels `from` to `until` lie inside; each of
  // them comes after the voxel `low + before[i]`, by the part `part[i]` of a voxel. The voxels `low` to `high` are needed.
  pixels (axis, first, step, count) {
    const last = this.size[axis] - 1
    const before = borrow(`before${axis}`, Int32Array, count), part = borrow(`part${axis}`, Float32Array, count)
    let from = count, until = 0, low = last, high = 0
    for (let i = 0; i < count; i++) {
      const index = this.index(axis, first + i * step)
      if (Number.isNaN(index)) continue
      if (i < from) from = i
      until = i + 1
      before[i] = clamp(Math.floor(index), 0, Math.max(0, last - 1))
      part[i] = last ? clamp(index - before[i], 0, 1) : 0
      if (before[i] < low) low = before[i]
      if (before[i] > high) high = before[i]
    }
    for (let i = from; i < until; i++) before[i] -= low
    return { before, part, from, until, low, high: Math.min(high + 1, last) }
  }

  // The plane through `w` mm as levels 0 to 255 (gain x stored value + bias), sampled linearly at `us` x `vs`.
  sample ({ u, v, w }, at, us, vs, { gain, bias, outside, out, width }) {
    out.fill(outside)
    const index = this.index(w, at)
    if (Number.isNaN(index) || us.from >= us.until || vs.from >= vs.until) return
    const columns = us.high - us.low + 1
    const cut = this.cut({ u, v, w }, index, us, vs, gain, bias)
    const line = borrow('line', Float32Array, columns + 1)
    for (let j = vs.from; j < vs.until; j++) {
      const top = vs.before[j] * columns, part = vs.part[j]
      const bottom = part > 0 ? top + columns : top
      for (let i = 0; i < columns; i++) line[i] = cut[top + i] + (cut[bottom + i] - cut[top + i]) * part
      line[columns] = line[columns - 1]
      interpolate(line, us, out, j * width)
    }
  }

  // The needed rows and columns of a plane at the volume's own resolution, interpolated between two slices.
  cut ({ u, v, w }, index, us, vs, gain, bias) {
    const columns = us.high - us.low + 1, rows = vs.high - vs.low + 1
    const { values, stride } = this
    const slice = clamp(Math.floor(index), 0, Math.max(0, this.size[w] - 2))
    const part = this.size[w] > 1 ? clamp(index - slice, 0, 1) : 0
    const next = part > 0 ? stride[w] : 0, step = stride[u]
    const near = gain * (1 - part), far = gain * part
    const out = borrow('cut', Float32Array, columns * rows)
    for (let j = 0, k = 0; j < rows; j++) {
      let p = slice * stride[w] + (vs.low + j) * stride[v] + us.low * step
      for (let i = 0; i < columns; i++, k++, p += step) out[k] = values[p] * near + values[p + next] * far + bias
    }
    return out
  }

  // The labels of a plane at the volume's own resolution, with the voxel of the first one.
  labels ({ u, v, w }, at) {
    const index = this.index(w, at)
    const columns = this.size[u], rows = this.size[v]
    const out = borrow('labels', Uint16Array, columns * rows).subarray(0, columns * rows)
    if (Number.isNaN(index)) return { ids: out.fill(0), columns, rows }
    const { values, stride } = this
    const start = Math.min(Math.round(index), this.size[w] - 1) * stride[w]
    for (let j = 0, k = 0; j < rows; j++) {
      for (let i = 0, p = start + j * stride[v]; i < columns; i++, k++, p += stride[u]) out[k] = values[p]
    }
    return { ids: out, columns, rows }
  }
}

// The array rounds and clamps to 0 to 255.
function interpolate (line, { before, part, from, until }, out, start) {
  for (let i = from; i < until; i++) {
    const left = line[before[i]]
    out[start + i] = left + (line[before[i] + 1] - left) * part[i]
  }
}

// The voxels of a volume whose centres lie in a sphere: where each is, mm, and its place in the array.
export function * voxels ({ origin, spacing, size, stride }, centre, radius) {
  const [xs, ys, zs] = [0, 1, 2].map((axis) => {
    const low = Math.ceil((centre[axis] - radius - origin[axis]) / spacing[axis])
    const high = Math.floor((centre[axis] + radius - origin[axis]) / spacing[axis])
    return [Math.max(0, low), Math.min(size[axis] - 1, high)]
  })
  const mm = (axis, index) => origin[axis] + index * spacing[axis]
  for (let k = zs[0]; k <= zs[1]; k++) {
    for (let j = ys[0]; j <= ys[1]; j++) {
      for (let i = xs[0]; i <= xs[1]; i++) {
        const place = [mm(0, i), mm(1, j), mm(2, k)]
        if (Math.hypot(place[0] - centre[0], place[1] - centre[1], place[2] - centre[2]) > radius) continue
        yield { place, offset: i + j * stride[1] + k * stride[2] }
      }
    }
  }
}
