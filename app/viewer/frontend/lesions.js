// The lesions, and the uptake that is not counted as one, beside the images. The list moves the crosshair; a reader who may
// change the case corrects them here: the server measures them anew, and the list follows.

import { element, write } from './dom.js'
import { Reading, ask } from './reading.js'

const MANY = 6 // foci that are not counted: more are folded
const WORK = new Map() // of each case: the corrections that wait, and the list that is on the page now

export class Lesions {
  // `done` tells the page that the reading is confirmed
  constructor (viewer, done) {
    const { base } = viewer.data
    if (!WORK.has(base)) WORK.set(base, { waiting: [], busy: false })
    Object.assign(this, { viewer, work: Object.assign(WORK.get(base), { list: this }), marked: null })
    this.reading = new Reading(viewer, done)
    this.root = element('aside', { className: 'findings', ariaLabel: viewer.data.labels.lesions })
    this.said = element('p', { className: 'note', role: 'status' })
    this.renew()
    this.showBusy()
    if (this.choices?.open) this.warm()
  }

  // Draw what the server said last.
  renew () {
    const { lesions } = this.viewer.data
    Object.assign(this, { rows: new Map(), details: new Map(), choices: lesions.choices })
    this.detail = element('div', { className: 'detail', hidden: true })
    const top = this.root.scrollTop
    const parts = lesions.known ? [this.figures(), ...this.proposed(), ...this.tables(), this.detail, ...this.viewer.liver.panel()] : []
    parts.push(...this.references())
    if (lesions.note) parts.push(element('p', { className: 'note' }, lesions.note))
    if (this.choices) parts.push(this.form())
    this.root.replaceChildren(...parts, this.said, this.reading.root)
    this.root.scrollTop = top
    this.marked = null
  }

  // Let the server read the images, so that the first correction need not wait for them.
  warm () {
    const { data } = this.viewer
    ask(`${data.base}/lesions`, { do: 'open', language: data.locale }, '')
  }

  // A correction, or what tells it once those before are measured. What comes while one is measured waits its turn, also
  // where the page is drawn anew meanwhile, so that none is lost.
  async apply (step) {
    const { work } = this
    if (!this.choices?.open) return
    work.waiting.push(step)
    if (work.busy) return
    work.busy = true
    this.showBusy()
    let message = ''
    while (work.waiting.length && !message) message = await work.list.send(work.waiting.shift())
    Object.assign(work, { waiting: [], busy: false })
    work.list.finish(message)
  }

  // The list is pale until the server has measured it.
  showBusy () {
    this.root.classList.toggle('computing', this.work.busy)
    if (this.work.busy) write(this.said, this.viewer.data.labels.computing)
  }

  finish (message) {
    this.showBusy()
    write(this.said, message)
    this.viewer.forgetDrawn()
    if (message) this.renew()
  }

  // Ask for one correction and show what follows; returns what went wrong.
  async send (next) {
    const { viewer, viewer: { data } } = this
    const step = typeof next === 'function' ? next(viewer) : next
    const answer = await ask(`${data.base}/lesions`, { ...step, shown: data.lesions.shown, language: data.locale }, data.labels.unreachable)
    if (answer.message) return answer.message
    try {
      await this.work.list.viewer.takeLesions(answer)
    } catch { return data.labels.unreachable }
    return ''
  }

  figures () {
    const { figures } = this.viewer.data.lesions
    return element('dl', { className: 'figures' }, ...figures.map(([label, value]) =>
      element('div', {}, element('dt', {}, label), element('dd', {}, value))))
  }

  // The healthy organs: a click goes to the place where one was measured, and outlines it.
  references () {
    const { viewer, viewer: { data: { labels, references } } } = this
    if (!references.length) return []
    const items = references.map(({ name, point }) => {
      const show = element('button', { type: 'button', title: labels.show }, name)
      show.addEventListener('click', () => {
        viewer.settings.references = true
        const tick = viewer.controls.ticks.references
        if (tick) tick.checked = true
        viewer.moveTo(point.slice())
        viewer.marked()
      })
      return element('li', {}, show)
    })
    return [element('details', { className: 'references' }, element('summary', {}, labels.references), element('ul', {}, ...items))]
  }

  tables () {
    const { labels, lesions: { rows } } = this.viewer.data
    const counted = rows.filter((row) => row.included)
    const doubtful = rows.filter((row) => !row.included && row.doubtful)
    const others = rows.filter((row) => !row.included && !row.doubtful)
    const parts = [counted.length ? this.table(labels.lesions, counted) : element('p', { className: 'none' }, labels.no_lesion)]
    if (doubtful.length) parts.push(this.table(labels.to_confirm, doubtful))
    if (others.length) {
      parts.push(element('details', { open: others.length <= MANY || others.some(({ badge }) => badge) },
        element('summary', {}, `${labels.excluded} (${others.length})`), this.table(labels.excluded, others, true)))
    }
    return [element('div', { className: 'lesions', tabIndex: 0, role: 'region', ariaLabel: labels.lesions }, ...parts)]
  }

  table (title, rows, unseen = false) {
    const { columns } = this.viewer.data.lesions
    const heads = this.choices ? [this.viewer.data.labels.counts, ...columns] : columns
    return element('table', {}, element('caption', { className: unseen ? 'unseen' : '' }, title),
      element('thead', {}, element('tr', {}, ...heads.map((head, i) => element('th', { scope: 'col' },
        i === 0 && this.choices ? element('span', { className: 'unseen' }, head) : head)))),
      element('tbody', {}, ...rows.flatMap((row) => this.row(row, heads.length))))
  }

  row ({ id, name, point, included, colour, place, cells, reason, more, badge }, width) {
    const { labels } = this.viewer.data
    const dot = element('i', { className: included ? 'dot' : 'dot dashed' })
    if (included) dot.style.background = colour
    const button = element('button', { type: 'button', title: labels.show }, dot, name)
    const { volumes } = this.viewer
    button.addEventListener('click', () => this.viewer.moveTo(volumes.lesions?.hottest(id, volumes.pet, point) ?? point))
    const row = element('tr', {}, ...(this.choices ? [element('td', {}, this.box(id, name, included))] : []),
      element('th', { scope: 'row' }, button), element('td', {}, place), ...cells.map((cell) => element('td', {}, cell)))
    this.rows.set(id, row)
    this.details.set(id, [...more.map(([label, value]) => `${label} ${value}`), ...(reason ? [reason] : [])].join(' · '))
    const below = [...(badge ? [this.badge(badge, name, () => this.apply({ do: 'switch', id }))] : []), ...(!included && reason ? [reason] : [])]
    return [row, ...below.map((words) => element('tr', { className: 'why' }, ...(this.choices ? [element('td')] : []),
      element('td', { colSpan: width - (this.choices ? 1 : 0) }, words)))]
  }

  // What the reader of the earlier examination decided, with a button that decides so here.
  badge (words, name, act, label = this.viewer.data.labels.apply) {
    const button = element('button', { type: 'button', ariaLabel: `${label} : ${words} ${name}`.trim() }, label)
    button.addEventListener('click', act)
    return element('span', { className: 'badge' }, element('span', {}, words), button)
  }

  // Lesions that were drawn at the earlier examination, where nothing hot was found at this one: they are outlined to be kept.
  proposed () {
    const { viewer, viewer: { data: { lesions } } } = this
    return (this.choices?.open ? lesions.proposed : []).map(({ point, text }) => this.badge(text, '', () => {
      if (!viewer.segment.on) viewer.use(viewer.segment)
      if (viewer.segment.on) viewer.segment.press(null, point.slice())
    }, viewer.data.labels.segment))
  }

  box (id, name, included) {
    const { labels } = this.viewer.data
    const box = element('input', { type: 'checkbox', checked: included, ariaLabel: `${labels.counts} : ${name}`, disabled: !this.choices.open })
    box.addEventListener('change', () => this.apply({ do: 'switch', id }))
    return box
  }

  // How lesions are outlined.
  form () {
    const { labels } = this.viewer.data
    const { method, methods, open, note } = this.choices
    const select = element('select', { name: 'method', disabled: !open },
      ...methods.map(([value, text]) => element('option', { value, selected: value === method }, text)))
    const change = element('button', { type: 'button', disabled: true }, labels.apply)
    const words = element('p', {}, note)
    select.addEventListener('change', () => {
      change.disabled = select.value === method
      write(words, select.value === method ? note : labels.new_list)
    })
    change.addEventListener('click', () => this.apply({ do: 'method', method: select.value }))
    return element('div', { className: 'choices' }, element('label', {}, element('span', {}, labels.method), select), change, words)
  }

  // The row of the lesion under the crosshair, with all that was measured of it, its region and its removal.
  mark (id) {
    if (id === this.marked) return
    this.marked = id
    for (const [each, row] of this.rows) row.classList.toggle('here', each === id)
    const text = this.details.get(id)
    this.detail.hidden = text === undefined
    if (text === undefined) return
    const { labels, lesions } = this.viewer.data
    const row = lesions.rows.find((one) => one.id === id)
    const parts = [element('span', {}, text)]
    if (this.choices?.open && row.included) {
      const select = element('select', { name: 'region', ariaLabel: `${labels.region} : ${row.name}` },
        ...lesions.regions.map(([value, word]) => element('option', { value, selected: value === row.region }, word)))
      select.addEventListener('change', () => this.apply({ do: 'region', id, region: select.value }))
      const remove = element('button', { type: 'button' }, labels.remove)
      remove.addEventListener('click', () => this.apply({ do: 'delete', id }))
      parts.push(element('span', { className: 'change' }, select, ...this.merging(row), remove))
    }
    this.detail.replaceChildren(...parts)
  }

  // The other lesions, the nearest first, to make one with this.
  merging (row) {
    const { labels, lesions } = this.viewer.data
    const apart = ({ point }) => Math.hypot(...point.map((value, axis) => value - row.point[axis]))
    const others = lesions.rows.filter((one) => one.included && one.id !== row.id).sort((a, b) => apart(a) - apart(b))
    if (!others.length) return []
    const select = element('select', { name: 'merge', ariaLabel: `${labels.merge} : ${row.name}` }, element('option', { value: '' }, labels.merge),
      ...others.map((one) => element('option', { value: one.id }, `${one.name} · ${one.place} · ${this.viewer.number(apart(one) / 10, 0)} cm`)))
    select.addEventListener('change', () => { if (select.value) this.apply({ do: 'merge', id: row.id, other: Number(select.value) }) })
    return [select]
  }
}
