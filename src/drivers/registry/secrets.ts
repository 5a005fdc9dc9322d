import { basicAuthorization, type Credentials } from "./credentials.ts";

/** Shorter texts are not secrets, and masking them would make the rest unreadable. */
const minCharacters = 4;
/** The same for the values of a query: an algorithm, a number of seconds or a region is not a secret. */
const minQueryCharacters = 8;
/** Of a query: a signed URL has some ten, and masking thousands of values would be slow. */
const maxParameters = 50;

/**
 * What was sent to a host and must not be shown: a careless server repeats it in its error, and the
 * error of a pull appears in the events of a pod, which more users can read than may pull the image.
 */
export class Secrets {
  readonly #texts = new Set<string>();

  /** Adds a password or a token, in each form in which it is sent. */
  addCredentials(credentials: Credentials): void {
    if (credentials.kind === "none") return;
    this.#add(credentials.secret);
    this.#add(basicAuthorization(credentials).slice("Basic ".length));
  }

  /** Adds the value of an `Authorization` header. */
  addAuthorization(value: string | undefined): void {
    if (value === undefined) return;
    this.#add(value);
    const [scheme = "", parameter = ""] = value.split(/\s+/, 2);
    this.#add(parameter);
    if (scheme.toLowerCase() !== "basic") return;
    const pair = Buffer.from(parameter, "base64").toString("utf8");
    this.#add(pair);
    this.#add(pair.slice(pair.indexOf(":") + 1));
  }

  /** Adds all values of headers that the configuration has for a host: any of them may be a key. */
  addHeaders(headers: Readonly<Record<string, readonly string[]>>): void {
    for (const values of Object.values(headers))
      values.forEach((one) => this.addAuthorization(one));
  }

  /**
   * Adds the password and the values of the query of a URL: where it is signed, they are as good as a
   * password.
   */
  addUrl(url: URL): void {
    this.#add(url.password);
    const values = [...url.searchParams.values()].slice(0, maxParameters);
    for (const value of values) this.#addFrom(minQueryCharacters, value);
    // In its encoded form, too: servers repeat either.
    for (const part of url.search.slice(1).split("&", maxParameters)) {
      this.#addFrom(minQueryCharacters, part.slice(part.indexOf("=") + 1));
    }
  }

  /** The text with `***` instead of each secret. */
  mask(text: string): string {
    // The longest first, since one may be a part of another.
    const all = [...this.#texts].sort((a, b) => b.length - a.length);
    return all.reduce((masked, secret) => masked.replaceAll(secret, "***"), text);
  }

  #add(secret: string): void {
    this.#addFrom(minCharacters, secret);
  }

  #addFrom(least: number, secret: string): void {
    if (secret.length < least) return;
    this.#texts.add(secret);
    // The spellings of JSON, of a URL and of HTML.
    this.#texts.add(JSON.stringify(secret).slice(1, -1));
    this.#texts.add(encodeURIComponent(secret.toWellFormed()));
    this.#texts.add(secret.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`));
    this.#texts.add(
      secret.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"),
    );
  }
}

/** The text with `***` instead of each query value: `?sig=***&ns=***`. */
export function withoutQueries(text: string): string {
  return text.replace(/([?&](?:amp;)?[\w.~%[\]-]{1,100}=)[^&\s"'<>]+/g, "$1***");
}
