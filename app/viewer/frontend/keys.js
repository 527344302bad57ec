// Key images: a view that is kept with the case, shown again by a click and saved as a picture.

import { element } from './dom.js'

export class KeyImages {
  constructor (viewer) {
    Object.assign(this, { viewer, list: [] })
    const { labels } = viewer.data
    this.button = element('button', { type: 'button', title: 'K' }, labels.key_image)
    this.button.addEventListener('click', () => this.add())
    this.items = element('ul')
    this.root = element('div', { className: 'measures keys-kept', hidden: true }, element('b', {}, labels.key_images), this.items)
  }

  restore (list) {
    this.list = list
    this.show()
  }

  add () {
    const { point, zoom, planes, settings: { mode, window, custom, low, high, palette } } = this.viewer
    this.list.push({ point: point.slice(), zoom, pans: planes.map((plane) => plane.pan.slice()), look: { mode, window, custom, low, high, palette } })
    this.changed()
  }

  changed () {
    this.show()
    this.viewer.keepMarks()
  }

  open ({ point, zoom, pans, look }) {
    const { viewer } = this
    Object.assign(viewer.settings, look)
    viewer.zoom = zoom
    viewer.planes.forEach((plane, i) => { plane.pan = pans[i].slice() })
    viewer.controls.showMode()
    viewer.applyMode()
    viewer.moveTo(point.slice())
  }

  // What is on the screen as one picture, with its panels where they are.
  save (name) {
    const { pair: screen } = this.viewer
    const box = screen.getBoundingClientRect()
    const ratio = Math.min(window.devicePixelRatio || 1, 1.5)
    const picture = element('canvas', { width: Math.round(box.width * ratio), height: Math.round(box.height * ratio) })
    const context = picture.getContext('2d')
    for (const canvas of screen.querySelectorAll('canvas')) {
      const at = canvas.getBoundingClientRect()
      if (at.width) context.drawImage(canvas, (at.left - box.left) * ratio, (at.top - box.top) * ratio, at.width * ratio, at.height * ratio)
    }
    const link = element('a', { download: `fedpet-${name}.png`, href: picture.toDataURL('image/png') })
    link.click()
  }

  show () {
    const { viewer, viewer: { data: { labels } } } = this
    this.root.hidden = !this.list.length
    this.items.replaceChildren(...this.list.map((view, i) => {
      const name = `★ ${i + 1} · z ${viewer.number(view.point[2], 0)} mm`
      const open = element('button', { type: 'button', title: labels.show }, name)
      open.addEventListener('click', () => this.open(view))
      const save = element('button', { type: 'button', title: labels.save_picture, ariaLabel: `${labels.save_picture} : ${name}` }, '↓')
      save.addEventListener('click', () => { this.open(view); requestAnimationFrame(() => requestAnimationFrame(() => this.save(i + 1))) })
      const remove = element('button', { type: 'button', title: labels.remove, ariaLabel: `${labels.remove} : ${name}` }, '✕')
      remove.addEventListener('click', () => { this.list = this.list.filter((one) => one !== view); this.changed() })
      return element('li', {}, open, save, remove)
    }))
  }
}
