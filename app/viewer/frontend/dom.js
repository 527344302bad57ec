// Small helpers that every part of the viewer shares.

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value))

export function element (tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== 'list') made[name] = value
    else made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

// Changes the text only where it differs: the browser lays a page out again after every change.
export function write (node, text) {
  if (node.textContent !== text) node.textContent = text
}
