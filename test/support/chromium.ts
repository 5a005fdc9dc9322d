/** A headless Chromium, driven over the DevTools protocol by a pipe: as much of it as the tests of the page need. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { patient } from "./patience.ts";
import { until } from "./suites/pods.ts";

/** The program; undefined if it is not installed. Debian's package is `chromium`. */
export const chromium = [process.env["DAVIT_TEST_CHROMIUM"] ?? "", "/usr/bin/chromium"].find(
  (file) => file !== "" && existsSync(file),
);

type Params = Readonly<Record<string, unknown>>;
type Result = Readonly<Record<string, unknown>>;

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: Result;
  readonly error?: { readonly message: string };
}

/** The browser process. */
export class Browser implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #input: Writable;
  readonly #waiting = new Map<number, PromiseWithResolvers<Result>>();
  readonly #pages = new Map<string, Page>();
  #calls = 0;

  static start(): Browser {
    assert.ok(chromium !== undefined);
    return new Browser(chromium);
  }

  private constructor(program: string) {
    this.#profile = mkdtempSync(path.join(tmpdir(), "davit-chromium-"));
    // As root there is no sandbox. It loads nothing but the page of the test.
    const flags = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--no-first-run",
      "--hide-scrollbars",
      "--remote-debugging-pipe",
      `--user-data-dir=${this.#profile}`,
      "about:blank",
    ];
    this.#child = spawn(program, flags, {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
      env: { ...process.env, HOME: this.#profile },
    });
    const [, , , input, output] = this.#child.stdio;
    this.#input = input as Writable;
    let text = "";
    (output as Readable).setEncoding("utf8").on("data", (chunk: string) => {
      const messages = (text + chunk).split("\0");
      text = messages.pop() ?? "";
      for (const message of messages) this.#receive(JSON.parse(message) as Message);
    });
    this.#child.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("chromium has ended"));
    });
  }

  /** Calls a method of the protocol. Rejects when there is no answer in 20 s. */
  async call(method: string, params: Params = {}, sessionId?: string): Promise<Result> {
    this.#calls += 1;
    const id = this.#calls;
    const waiting = Promise.withResolvers<Result>();
    this.#waiting.set(id, waiting);
    const message = { id, method, params, ...(sessionId === undefined ? {} : { sessionId }) };
    this.#input.write(`${JSON.stringify(message)}\0`);
    const timer = setTimeout(() => {
      waiting.reject(new Error(`chromium does not answer ${method}`));
    }, patient(20_000));
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** A context with cookies of its own, for open(). */
  async newContext(): Promise<string> {
    const { browserContextId } = await this.call("Target.createBrowserContext");
    assert.ok(typeof browserContextId === "string");
    return browserContextId;
  }

  /** Opens an address in a window of this size; in another context it has other cookies. */
  async open(
    url: string,
    size: { readonly width: number; readonly height: number },
    scheme: "light" | "dark" = "light",
    browserContextId?: string,
  ): Promise<Page> {
    const context = browserContextId === undefined ? {} : { browserContextId };
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank", ...context });
    const attached = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const sessionId = String(attached["sessionId"]);
    const page = new Page((method, params) => this.call(method, params, sessionId));
    this.#pages.set(sessionId, page);
    await page.call("Page.enable");
    await page.call("Runtime.enable");
    await page.call("Network.enable");
    await page.call("Log.enable");
    await page.call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
    await page.call("Emulation.setDeviceMetricsOverride", {
      ...size,
      deviceScaleFactor: 1,
      mobile: size.width < 600,
    });
    await page.call("Page.navigate", { url });
    // A tab in the background is not drawn.
    await page.call("Page.bringToFront");
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, "exit");
    // It waits for its helper processes, which SIGKILL would leave behind.
    this.call("Browser.close").catch(() => undefined);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), patient(5_000));
    await exited;
    clearTimeout(timer);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #receive({ id, sessionId, method, params = {}, result, error }: Message): void {
    if (id === undefined) {
      if (sessionId !== undefined) this.#pages.get(sessionId)?.receive(method ?? "", params);
      return;
    }
    const waiting = this.#waiting.get(id);
    if (error === undefined) waiting?.resolve(result ?? {});
    else waiting?.reject(new Error(error.message));
  }
}

/** A tab. */
export class Page {
  /** Calls a method of the protocol for this tab. */
  readonly call: (method: string, params?: Params) => Promise<Result>;
  /** The addresses that the page has requested. */
  readonly requests: string[] = [];
  /** Exceptions, errors on the console, and violations of the page's policy. */
  readonly problems: string[] = [];

  constructor(call: (method: string, params?: Params) => Promise<Result>) {
    this.call = call;
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const call = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", call);
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { readonly value: T }).value;
  }

  /** Waits until an expression is true. */
  async until(expression: string): Promise<void> {
    try {
      // What it looks into may not exist yet.
      const tried = `(() => { try { return !!(${expression}) } catch { return false } })()`;
      await until(`${expression} in the page`, () => this.value<boolean>(tried));
    } catch (error) {
      const text = await this.value<string>("document.body.innerText");
      throw new Error(`${String(error)}\n${this.problems.join("\n")}\n${text}`, { cause: error });
    }
  }

  /** Waits for an element that matches a selector and contains a text, and clicks it. */
  async click(selector: string, text = ""): Promise<void> {
    const [quoted, part] = [JSON.stringify(selector), JSON.stringify(text)];
    const found = `[...document.querySelectorAll(${quoted})].find((e) => e.textContent.includes(${part}))`;
    await this.until(found);
    await this.value(`${found}.click()`);
  }

  /** Presses a key, or types a text. */
  async press(key: string): Promise<void> {
    const text = key.length === 1 ? { text: key } : key === "Enter" ? { text: "\r" } : {};
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", key, ...text });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", key });
  }

  /** Types a text into what has the focus. */
  async type(text: string): Promise<void> {
    await this.call("Input.insertText", { text });
  }

  /** A picture of the window as PNG. */
  async picture(): Promise<Buffer> {
    const { data } = await this.call("Page.captureScreenshot", { format: "png" });
    return Buffer.from(String(data), "base64");
  }

  /** Closes the tab, so that the one before it is not in the background. */
  async close(): Promise<void> {
    await this.call("Page.close");
  }

  /** Takes an event of the protocol. */
  receive(method: string, params: Params): void {
    if (method === "Network.requestWillBeSent") {
      this.requests.push((params["request"] as { readonly url: string }).url);
    }
    if (method === "Runtime.exceptionThrown") this.problems.push(JSON.stringify(params));
    if (method === "Log.entryAdded") {
      const entry = params["entry"] as { readonly level: string; readonly text: string };
      if (entry.level === "error") this.problems.push(entry.text);
    }
  }
}
