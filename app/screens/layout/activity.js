// Reports activity to the server, twice a minute at most, and shows the sign-in page once the session has ended.
export default ({ data: path }) => {
  if (window.fedpetActivity) return // the script runs again with each redraw
  window.fedpetActivity = true
  const reloadIfEnded = (response) => response.status === 401 && location.reload()
  let reported = 0
  const report = () => {
    if (Date.now() - reported < 30000) return
    reported = Date.now()
    fetch(path, { method: 'POST' }).then(reloadIfEnded, () => {})
  }
  for (const sign of ['pointerdown', 'keydown', 'wheel']) {
    document.addEventListener(sign, report, { capture: true, passive: true })
  }
  setInterval(() => fetch(path).then(reloadIfEnded, () => {}), 30000)
}
