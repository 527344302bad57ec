// What Streamlit leaves undone on its document: the language, and the role of its drop zones, which are named groups.
const ZONES = '[data-testid=stFileUploaderDropzone][role=presentation]'

export default ({ data }) => {
  document.documentElement.lang = data
  const repair = () => { for (const zone of document.querySelectorAll(ZONES)) zone.role = 'group' }
  const observer = new MutationObserver(repair)
  observer.observe(document.body, { childList: true, subtree: true })
  repair()
  return () => observer.disconnect()
}
