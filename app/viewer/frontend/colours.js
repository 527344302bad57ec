// What levels (0 to 255) look like. Colours are packed as canvases keep them: red in the lowest byte.

import { clamp } from './dom.js'

export const WINDOWS = { soft: [-160, 240], lung: [-1350, 150], bone: [-450, 1050], liver: [-45, 105], brain: [0, 80] } // HU
const RAISES = [235, 60, 235] // influence that raises the risk
const LOWERS = [30, 215, 200] // influence that lowers it
const FAINT = 48 // PET level under which the CT shines through, the more the lower

const pack = (red, green, blue) => (0xff000000 | blue << 16 | green << 8 | red) >>> 0
const palette = (colour) => Uint32Array.from({ length: 256 }, (_, level) =>
  pack(...colour(level / 255).map((part) => Math.round(255 * clamp(part, 0, 1)))))

export const GREYS = palette((x) => [x, x, x])
export const PALETTES = {
  grey: palette((x) => [1 - x, 1 - x, 1 - x]),
  hot: palette((x) => [2.7 * x, 2.7 * x - 1, 3.7 * x - 2.7]),
}

// Colours of every pair of levels, PET over CT, at (CT << 8 | PET).
export function fusion (opacity) {
  const table = new Uint32Array(65536)
  for (let pet = 0; pet < 256; pet++) {
    const share = opacity * Math.min(1, pet / FAINT), hot = PALETTES.hot[pet]
    const mix = (shift, grey) => grey + ((hot >> shift & 255) - grey) * share
    for (let ct = 0; ct < 256; ct++) table[ct << 8 | pet] = pack(mix(0, ct), mix(8, ct), mix(16, ct))
  }
  return table
}

// Lay the influence over the pixels; its levels are 128 where there is none, 255 and 1 where it is strongest.
export function overlay (pixels, levels, opacity, threshold) {
  const shares = Float32Array.from({ length: 256 }, (_, level) => {
    const strength = (Math.abs(level - 128) / 127 - threshold) / (1.0001 - threshold)
    return strength > 0 ? opacity * Math.min(1, 0.35 + strength) : 0
  })
  for (let i = 0; i < pixels.length; i++) {
    const share = shares[levels[i]]
    if (share === 0) continue
    const [red, green, blue] = levels[i] > 128 ? RAISES : LOWERS
    const r = pixels[i] & 255, g = pixels[i] >> 8 & 255, b = pixels[i] >> 16 & 255
    pixels[i] = pack(r + (red - r) * share, g + (green - g) * share, b + (blue - b) * share)
  }
}
