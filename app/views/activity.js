// Tells the server, twice a minute at most, that the user is there; and asks for the sign-in when they no longer are.
export default ({ data: path }) => {
  if (window.fedpetActivity) return // drawn again: the page is already watched
  window.fedpetActivity = true
  const ended = (response) => response.status === 401 && location.reload()
  let told = 0
  const tell = () => {
    if (Date.now() - told < 30000) return
    told = Date.now()
    fetch(path, { method: 'POST' }).then(ended, () => {})
  }
  for (const sign of ['pointerdown', 'keydown', 'wheel']) {
    document.addEventListener(sign, tell, { capture: true, passive: true })
  }
  setInterval(() => fetch(path).then(ended, () => {}), 30000)
}
