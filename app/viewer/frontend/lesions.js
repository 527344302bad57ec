// The list of lesions, and of the uptake that is not counted as one. It moves the crosshair; a reader who may change the case
// chooses here what counts and how it is delineated.

import { element, write } from './dom.js'

export class Lesions {
  // `send` gives the reader's choice to the page
  constructor (viewer, send) {
    Object.assign(this, { viewer, send, rows: new Map(), flipped: new Set() })
    const { labels, lesions } = viewer.data
    this.choices = lesions.choices
    this.method = this.choices?.method
    const parts = lesions.rows.length ? [this.table()] : lesions.known ? [element('p', { className: 'none' }, labels.no_lesion)] : []
    if (this.choices) parts.push(this.form())
    this.root = element('div', { className: 'findings' }, ...parts)
  }

  table () {
    const { labels, lesions: { columns, rows } } = this.viewer.data
    const heads = this.choices ? [labels.counts, ...columns] : columns
    const group = (label, some, first) => {
      const head = element('th', { scope: 'rowgroup', colSpan: heads.length }, label)
      return some.length ? [element('tbody', {}, ...(first ? [] : [element('tr', { className: 'group' }, head)]), ...some.map((row) => this.row(row)))] : []
    }
    return element('div', { className: this.choices ? 'lesions switched' : 'lesions', tabIndex: 0, role: 'region', ariaLabel: labels.lesions },
      element('table', {}, element('caption', {}, labels.lesions),
        element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col' }, head)))),
        ...group(labels.lesions, rows.filter((row) => row.included), true),
        ...group(labels.excluded, rows.filter((row) => !row.included), false)))
  }

  row ({ id, name, point, included, colour, cells }) {
    const { labels } = this.viewer.data
    const dot = element('i', { className: included ? 'dot' : 'dot dashed' })
    if (included) dot.style.background = colour
    const button = element('button', { type: 'button', title: labels.show }, dot, name)
    const { volumes } = this.viewer
    button.addEventListener('click', () => this.viewer.moveTo(volumes.lesions?.hottest(id, volumes.pet, point) ?? point))
    const row = element('tr', {}, ...(this.choices ? [element('td', {}, this.box(id, name, included))] : []),
      element('th', { scope: 'row' }, button), ...cells.map((cell) => element('td', {}, cell)))
    this.rows.set(id, row)
    return row
  }

  box (id, name, included) {
    const { labels } = this.viewer.data
    const box = element('input', { type: 'checkbox', checked: included, ariaLabel: `${labels.counts} : ${name}`, disabled: !this.choices.open })
    box.addEventListener('change', () => {
      if (box.checked === included) this.flipped.delete(id)
      else this.flipped.add(id)
      this.show()
    })
    return box
  }

  // The method, and what is done with the choices.
  form () {
    const { labels } = this.viewer.data
    const { method, methods, open, note, shown } = this.choices
    const select = element('select', { name: 'method', disabled: !open },
      ...methods.map(([value, text]) => element('option', { value, selected: value === method }, text)))
    select.addEventListener('change', () => { this.method = select.value; this.show() })
    this.note = element('p', { role: 'status' }, note)
    this.apply = element('button', { type: 'button', className: 'primary', disabled: true }, labels.apply)
    this.apply.addEventListener('click', () => {
      this.apply.disabled = true
      this.send({ method: this.method, flipped: this.method === method ? [...this.flipped] : [], shown })
    })
    return element('div', { className: 'choices' }, element('label', {}, element('span', {}, labels.method), select), this.apply, this.note)
  }

  show () {
    const { labels } = this.viewer.data
    const other = this.method !== this.choices.method
    for (const box of this.root.querySelectorAll('td > input')) box.disabled = other
    this.apply.disabled = !other && !this.flipped.size
    write(this.note, other ? labels.new_list : this.flipped.size ? `${labels.changed} ${[...this.flipped].join(', ')}` : this.choices.note)
  }

  // The row of the lesion under the crosshair.
  mark (id) {
    for (const [each, row] of this.rows) row.classList.toggle('here', each === id)
  }
}
