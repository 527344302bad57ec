// How the volumes come from the server: in pieces, those nearest to where the reader looks first.

const PIECE = 8 * 2 ** 20 // bytes of a request
const AT_ONCE = 3

// A file, or its bytes `first` to `last`.
async function get (url, { signal, first, last }) {
  const headers = last === undefined ? {} : { Range: `bytes=${first}-${last}` }
  const response = await fetch(url, { credentials: 'same-origin', cache: 'no-store', headers, signal })
  // an unknown route answers with the page itself
  if (!response.ok || response.headers.get('content-type') !== 'application/octet-stream') throw new Error(`HTTP ${response.status}`)
  return { buffer: await response.arrayBuffer(), whole: response.status === 200 }
}

export const size = ({ dtype, shape, bytes }) => bytes ?? shape.reduce((product, one) => product * one, dtype === 'uint8' ? 1 : 2)

// A small file.
export async function loadFile (url, { signal, arrived }) {
  const { buffer } = await get(url, { signal })
  arrived(buffer.byteLength)
  return buffer
}

// The slices of a volume; `nearest()` is the slice that the reader looks at.
export async function loadSlices (volume, url, { signal, nearest, arrived }) {
  const slices = volume.size[2]
  const bytes = volume.stride[2] * volume.values.BYTES_PER_ELEMENT
  const count = Math.max(1, Math.floor(PIECE / bytes))
  let waiting = Array.from({ length: Math.ceil(slices / count) }, (_, i) => i * count)
  const work = async () => {
    while (waiting.length) {
      const middle = nearest() - count / 2
      const slice = waiting.reduce((one, other) => Math.abs(other - middle) < Math.abs(one - middle) ? other : one)
      waiting = waiting.filter((other) => other !== slice)
      const last = Math.min(slice + count, slices) * bytes - 1
      const { buffer, whole } = await get(url, { signal, first: slice * bytes, last })
      if (whole) waiting = [] // by a way that does not pass ranges on
      volume.take(whole ? 0 : slice, buffer)
      arrived(buffer.byteLength)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}
