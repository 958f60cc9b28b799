// What scrolls sideways can be reached from the keyboard.
function makeScrollable() {
  for (const part of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) part.tabIndex = 0;
}
makeScrollable();
if (window.document$) window.document$.subscribe(makeScrollable);
