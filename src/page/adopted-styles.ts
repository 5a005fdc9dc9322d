const html = "http://www.w3.org/1999/xhtml";

/**
 * Lets xterm.js set its styles under a Content-Security-Policy without inline styles. It writes them into `style`
 * elements, which the policy blocks: it gets elements that write into a style sheet of the document instead. Returns
 * a function that ends it and removes the style sheets.
 */
export function adoptStyles(): () => void {
  const sheets: CSSStyleSheet[] = [];
  // It hides the method of the prototype until it is deleted.
  Object.defineProperty(document, "createElement", {
    configurable: true,
    value: (name: string) => {
      if (name !== "style") return document.createElementNS(html, name);
      const element = document.createElementNS(html, "template");
      sheets.push(adopt(element));
      return element;
    },
  });
  return () => {
    Reflect.deleteProperty(document, "createElement");
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter(
      (sheet) => !sheets.includes(sheet),
    );
  };
}

function adopt(element: HTMLElement): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
    },
  });
  return sheet;
}
