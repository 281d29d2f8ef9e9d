// Makes buttons of the headings of tables that sort. Pressed, they sort by
// their column: ascending, descending, then as the page has it.
const isAbsent = (text) => text === '-' || text === 'missing';
const number = (text) => parseFloat(text.replaceAll(',', '')); // -1,234.5 ± 6

const compare = (first, second, isWords) =>
  isWords
    ? first.localeCompare(second, 'en', {numeric: true})
    : number(first) - number(second);

for (const table of document.querySelectorAll('table.sorts')) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  const sorted = (heading, order) => {
    const isWords = heading.classList.contains('words');
    const sign = order === 'ascending' ? 1 : -1;
    const text = (row) => row.cells[heading.cellIndex].textContent;
    return [...rows].sort((above, below) => {
      const [first, second] = [text(above), text(below)];
      return isAbsent(first) || isAbsent(second)
        ? isAbsent(first) - isAbsent(second)
        : sign * compare(first, second, isWords);
    });
  };

  for (const heading of headings) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener('click', () => {
      const old = heading.getAttribute('aria-sort');
      for (const each of headings) each.removeAttribute('aria-sort');
      if (old === 'descending') {
        body.append(...rows);
        return;
      }
      const order = old === 'ascending' ? 'descending' : 'ascending';
      heading.setAttribute('aria-sort', order);
      body.append(...sorted(heading, order));
    });
  }
}
