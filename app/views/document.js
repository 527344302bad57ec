// What Streamlit leaves undone on its document: the language, its own words, which are English only, and the role of its
// drop zones, which are named groups.
const ZONES = '[data-testid=stFileUploaderDropzone][role=presentation]'
const WRITTEN = '[role=tooltip], [data-testid=stTooltipContent], [data-testid=InputInstructions], a[href="#stMain"], [role=listbox]'
const HELP = 'Help for'
// of the whole page, however often this script is loaded: who watches, and the English of what stands there in another
// language since an earlier choice
const state = window.fedpet ??= { observer: null, english: {} }

export default ({ data: { language, words } }) => {
  const { english } = state
  const say = (text) => {
    const help = [HELP, ...Object.keys(english)].find((one) => (english[one] ?? one) === HELP && text.startsWith(`${one} `))
    return help ? `${words[HELP]}${text.slice(help.length)}` : words[english[text] ?? text]
  }
  const repair = () => {
    for (const zone of document.querySelectorAll(ZONES)) zone.role = 'group'
    for (const one of document.querySelectorAll('[aria-label]')) {
      const said = say(one.ariaLabel)
      if (said && said !== one.ariaLabel) one.ariaLabel = said
    }
    for (const place of document.querySelectorAll(WRITTEN)) {
      for (const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT); walker.nextNode();) {
        const said = say(walker.currentNode.data)
        if (said && said !== walker.currentNode.data) walker.currentNode.data = said
      }
    }
    state.observer.takeRecords() // of our own changes
  }
  document.documentElement.lang = language
  state.observer?.disconnect()
  state.observer = new MutationObserver(repair)
  state.observer.observe(document.body, { childList: true, subtree: true, characterData: true, attributeFilter: ['aria-label'] })
  repair()
  for (const [original, said] of Object.entries(words)) english[said] = original
}
