// What Streamlit leaves undone on its document: the language; its own words, which are English only; the role of its drop
// zones, which are named groups; how far an upload is; and that the server does not answer any more; and where a panel that another step fills is scrolled to.
const ZONES = '[data-testid=stFileUploaderDropzone][role=presentation]'
const TRANSLATED = '[role=tooltip], [data-testid=stTooltipContent], [data-testid=InputInstructions], a[href="#stMain"], [role=listbox], [data-testid=stFileChip]'
const PREFIXES = ['Help for', 'Cancel upload of', 'Remove'] // of labels that go on with a name
const SIZE = /(^|, )([\d.]+)(B|KB|MB|GB)$/ // of a file, as Streamlit writes it
const UPLOADS = '/_stcore/upload_file/'
const SILENT_MS = 3000 // a connection that is back before is not worth a word
// of the whole page, however often this script is loaded: the observer, the English of what stands there in another language
// since an earlier choice, the uploads under way, the notices, and the case and step that are shown
const state = window.fedpet ??= { observer: null, english: {}, uploads: new Map(), notices: {}, silent: 0, shown: '' }

function notice (name, text, role) {
  let box = state.notices[name]
  if (!text) { box?.remove(); delete state.notices[name]; return }
  if (!box) {
    box = state.notices[name] = document.createElement('p')
    box.className = `fp-notice ${name}`
    box.setAttribute('role', role)
    document.body.append(box)
  }
  if (box.textContent !== text) box.textContent = text
}

// Streamlit sends each file in a request of its own.
function watchUploads () {
  const { open, send } = XMLHttpRequest.prototype
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.fedpetUpload = method.toUpperCase() === 'PUT' && String(url).includes(UPLOADS)
    return open.call(this, method, url, ...rest)
  }
  XMLHttpRequest.prototype.send = function (...rest) {
    if (this.fedpetUpload) {
      this.upload.addEventListener('progress', ({ loaded, total }) => { state.uploads.set(this, { loaded, total }); showUploads() })
      this.addEventListener('loadend', () => { state.uploads.delete(this); showUploads() })
    }
    return send.apply(this, rest)
  }
}

function showUploads () {
  const parts = [...state.uploads.values()]
  const sum = (name) => parts.reduce((total, part) => total + part[name], 0)
  const share = sum('total') ? Math.floor(100 * sum('loaded') / sum('total')) : 0
  notice('upload', parts.length ? state.words.uploading.replace('{percent}', share) : '', 'status')
}

function watchConnection (app) {
  const connected = !app || app.dataset.testConnectionState === 'CONNECTED'
  if (connected) {
    clearTimeout(state.silent)
    state.silent = 0
    notice('silent', '')
  } else if (!state.silent) {
    state.silent = setTimeout(() => notice('silent', state.words.silent, 'alert'), SILENT_MS)
  }
}

// A step of a case begins at the top of its panel, which stays the same element of the page.
function beginAtTop () {
  const asked = new URLSearchParams(location.search)
  const shown = `${asked.get('case')}/${asked.get('step')}`
  const panel = document.querySelector('.st-key-workspace_side')
  if (panel && shown !== state.shown) panel.scrollTop = 0
  state.shown = shown
}

export default ({ data: { language, words, notices } }) => {
  const { english } = state
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 })
  const translated = (text) => {
    for (const prefix of PREFIXES) {
      const found = [prefix, ...Object.keys(english)].find((one) => (english[one] ?? one) === prefix && text.startsWith(`${one} `))
      if (found) return `${words[prefix]}${text.slice(found.length)}`
    }
    return words[english[text] ?? text] ?? text.replace(SIZE, (all, start, count, unit) => `${start}${number.format(count)} ${notices.units[unit]}`)
  }
  const repair = () => {
    for (const zone of document.querySelectorAll(ZONES)) zone.role = 'group'
    for (const one of document.querySelectorAll('[aria-label]')) {
      const text = translated(one.ariaLabel)
      if (text !== one.ariaLabel) one.ariaLabel = text
    }
    for (const place of document.querySelectorAll(TRANSLATED)) {
      for (const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT); walker.nextNode();) {
        const text = translated(walker.currentNode.data)
        if (text !== walker.currentNode.data) walker.currentNode.data = text
      }
    }
    beginAtTop()
    watchConnection(document.querySelector('[data-testid=stApp]'))
    state.observer.takeRecords() // of our own changes
  }
  if (!state.observer) watchUploads()
  state.words = notices
  document.documentElement.lang = language
  state.observer?.disconnect()
  state.observer = new MutationObserver(repair)
  state.observer.observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ['aria-label', 'data-test-connection-state'] })
  repair()
  for (const [original, text] of Object.entries(words)) english[text] = original
}
