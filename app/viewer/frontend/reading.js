// What a reader says before the answer is shown: an estimate of their own, and that the lesions are as they see them.

import { element, write } from './dom.js'

export class Reading {
  // `done` tells the page that the server has kept it
  constructor (viewer, done) {
    Object.assign(this, { viewer, done, estimate: viewer.settings.estimate ?? null })
    const { reading } = viewer.data
    this.root = element('section', { className: 'reading', hidden: !reading })
    if (!reading) return
    if (reading.said) this.root.append(element('p', { className: 'note' }, reading.said))
    else this.ask(reading)
  }

  ask ({ waits }) {
    const { labels } = this.viewer.data
    const value = element('output', {}, '–')
    const slider = element('input', { type: 'range', name: 'estimate', min: 0, max: 100, step: 1, value: this.estimate ?? 50 })
    const forget = element('button', { type: 'button', ariaLabel: labels.no_estimate, title: labels.no_estimate, disabled: true }, '✕')
    const show = () => {
      this.viewer.settings.estimate = this.estimate // with the view, so that a reload or another language keeps it
      write(value, this.estimate === null ? '–' : `${this.estimate} %`)
      slider.className = this.estimate === null ? 'unset' : ''
      forget.disabled = this.estimate === null
    }
    slider.addEventListener('input', () => { this.estimate = Number(slider.value); show() })
    forget.addEventListener('click', () => { this.estimate = null; slider.value = 50; show() })
    this.button = element('button', { type: 'button', className: 'primary confirm', disabled: Boolean(waits) }, labels.confirm)
    this.button.addEventListener('click', () => this.confirm())
    this.said = element('p', { className: 'note', role: 'status' }, waits ?? '')
    show()
    this.root.append(element('h3', {}, labels.estimate),
      element('label', { className: 'estimate' }, element('span', {}, labels.estimated), slider, value), forget, this.button, this.said)
  }

  async confirm () {
    this.button.disabled = true
    const { data } = this.viewer
    const { message } = await ask(`${data.base}/reading`, { estimate: this.estimate === null ? null : this.estimate / 100, shown: data.lesions.shown, language: data.locale }, data.labels.unreachable)
    if (!message) { this.done(); return }
    write(this.said, message)
    this.button.disabled = false
  }
}

// Ask the server to keep or compute something; the answer has a `message` where it did not.
export async function ask (url, content, unreachable) {
  try {
    const response = await fetch(url, { method: 'POST', keepalive: true, credentials: 'same-origin', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(content) })
    const answer = await response.json()
    return response.ok ? answer : { message: answer.message ?? unreachable }
  } catch {
    return { message: unreachable }
  }
}
