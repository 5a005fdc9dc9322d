/** The page of davit ui in a headless Chromium: `apt-get install chromium` (300 MB), else these tests are skipped. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Browser, chromium, type Page } from "../support/chromium.ts";
import {
  busybox,
  closePod,
  container,
  createIn,
  Node,
  openPod,
  type Pod,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { launchDaemon, listIds, pod as podConfig, until } from "../support/suites/pods.ts";
import { Ui } from "../support/suites/ui.ts";

const skip = chromium === undefined && "chromium is not installed (apt-get install chromium)";
/** Pictures are kept there, if it is set. */
const pictures = process.env["DAVIT_TEST_PICTURES"];

const wide = { width: 1280, height: 800 };
const narrow = { width: 390, height: 844 };
/** What a container writes to make the page run its script. */
const hostile = '<img src=x onerror="document.title=1">';

describe("the page of davit ui", { skip }, () => {
  let node: Node;
  let ui: Ui;
  let pod: Pod;
  let browser: Browser;
  before(async () => {
    node = await Node.startWithBusybox();
    const logDirectory = path.join(node.daemon.paths.directory, "logs");
    mkdirSync(logDirectory);
    pod = await openPod(node.daemon, podConfig({}, { logDirectory }));
    const text = `echo '${hostile}'; while :; do sleep 1000; done`;
    const metadata = { name: "main", attempt: 0 };
    // As kubelet does it: the image is there, so only the registry is asked.
    const image = { image: busybox };
    await node.daemon.client.image.pullImage({ image, sandboxConfig: pod.config });
    await runIn(pod, script(text, { metadata, logPath: "main.log" }));
    ui = await Ui.start(node.daemon, "--write");
    browser = Browser.start();
  });
  after(async () => {
    await browser[Symbol.asyncDispose]();
    await ui[Symbol.asyncDispose]();
    await closePod(pod);
    await node[Symbol.asyncDispose]();
  });

  /** Opens the printed address. */
  const open = (size: typeof wide, scheme?: "dark"): Promise<Page> =>
    browser.open(ui.url.href, size, scheme);
  const name = (): string => pod.config.metadata?.name ?? "";

  /** Checks what must be true of every page at the end of its test. */
  async function check(page: Page, picture: string): Promise<void> {
    const image = await page.picture();
    if (pictures !== undefined) writeFileSync(path.join(pictures, `${picture}.png`), image);
    assert.deepEqual(page.problems, []);
    const strange = page.requests.filter(
      (url) => !url.startsWith(`${ui.url.origin}/`) && !url.startsWith("data:"),
    );
    assert.deepEqual(strange, []);
    assert.equal(await page.value("document.title"), "davit");
    const overflow = "document.documentElement.scrollWidth - innerWidth";
    assert.ok((await page.value<number>(overflow)) <= 0, "the page does not scroll sideways");
    await page.close();
  }

  for (const [size, scheme] of [
    [wide, undefined],
    [narrow, "dark"],
  ] as const) {
    test(`shows the timeline of a pod at ${size.width} pixels`, async () => {
      const page = await open(size, scheme);
      await page.until("document.querySelectorAll('.start .bar').length > 10");
      // The pull for the pod is a row of its start. The other pull was for no pod.
      const rows = "[...document.querySelectorAll('.start')].map((start) => start.innerText)";
      const isOfPod = `text.includes(${JSON.stringify(name())}) && text.includes("pull busybox")`;
      await page.until(`${rows}.some((text) => ${isOfPod})`);
      const ofPulls = `${rows}.filter((text) => /pull .*busybox/.test(text)).length`;
      assert.equal(await page.value(ofPulls), 2);
      assert.equal(await page.value("location.hash.includes('token')"), false);
      await page.click(".start", name());
      await page.until("document.querySelectorAll('.waterfall').length === 3");
      const text = await page.value<string>("document.querySelector('.detail').innerText");
      assert.match(text, /RunPodSandbox[^]*network plugin bridge[^]*CreateContainer\s+main/);
      await check(page, `timeline-${size.width}`);
    });
  }

  test("shows a failed start with its error, and a pod that comes and goes", async () => {
    const page = await open(wide);
    const id = await createIn(pod, container({ command: ["/no-such-program"] }));
    await assert.rejects(node.daemon.client.runtime.startContainer({ containerId: id }));
    await page.until("document.querySelector('.start.failed .error')");
    await node.daemon.client.runtime.removeContainer({ containerId: id });
    await page.click(".tabs button", "Pods");
    const other = await openPod(node.daemon, podConfig());
    const otherName = JSON.stringify(other.config.metadata?.name);
    await page.until(`document.querySelector('section.pods').innerText.includes(${otherName})`);
    await closePod(other);
    await page.until(`!document.querySelector('section.pods').innerText.includes(${otherName})`);
    await check(page, "pods");
  });

  test("shows hostile output as text, and usage, spec and images", async () => {
    const page = await open(wide);
    await page.click(".tabs button", "Pods");
    await page.click("button.podrow", name());
    await page.click(".detail nav button", "logs");
    await page.until(
      `document.querySelector('.lines').innerText.includes(${JSON.stringify(hostile)})`,
    );
    assert.equal(await page.value("document.querySelectorAll('img').length"), 0);
    await page.click(".detail nav button", "stats");
    await page.until("document.querySelectorAll('.uplot canvas').length === 3");
    await page.click(".detail nav button", "spec");
    await page.until("document.querySelector('.spec').innerText.includes('status')");
    await page.click(".tabs button", "Images");
    await page.click(".imagerow", "busybox");
    await page.until("document.querySelector('.imagedetail').innerText.includes('main')");
    await check(page, "images");
  });

  test("runs a shell", async () => {
    const page = await open(wide);
    await page.click(".start", name());
    await page.click(".detail nav button", "shell");
    const screen = "document.querySelector('.xterm-rows')?.innerText ?? ''";
    await page.until(`(${screen}).includes('# ')`);
    await page.type("echo $((40 + 2))-$(hostname)");
    await page.press("Enter");
    await page.until(`(${screen}).includes('42-')`);
    // The style sheets of the terminal are in force under the policy of the page.
    assert.match(
      await page.value("getComputedStyle(document.querySelector('.xterm-rows > div')).height"),
      /^\d+(\.\d+)?px$/,
    );
    await page.type("exit");
    await page.press("Enter");
    await page.until("document.querySelector('.shell').innerText.includes('exited with code 0')");
    await check(page, "shell");
  });

  test("is used by keys", async () => {
    const page = await open(wide);
    await page.until("document.querySelectorAll('.start').length >= 1");
    await page.press("ArrowDown");
    await page.until("document.activeElement.matches('.start')");
    await page.press("/");
    await page.until("document.activeElement.id === 'search'");
    await page.type("no-such-pod");
    await page.until("document.querySelectorAll('.start').length === 0");
    await page.press("Escape");
    await page.until("document.querySelectorAll('.start').length >= 1");
    await page.press("ArrowDown");
    await page.press("Enter");
    await page.until("document.querySelector('.detail .waterfall')");
    await page.press("Escape");
    await page.until("!document.querySelector('.detail')");
    await check(page, "keys");
  });

  test("removes a pod after a confirmation", async () => {
    const other = await openPod(node.daemon, podConfig());
    const page = await open(wide);
    await page.click(".start", other.config.metadata?.name);
    await page.click(".detail button", "Remove pod");
    await page.click("dialog[open] button", "Cancel");
    await page.until("!document.querySelector('dialog[open]')");
    await page.click(".detail button", "Remove pod");
    await page.click("dialog[open] button.danger", "Remove");
    await until("the pod is removed", async () => !(await listIds(node.daemon)).includes(other.id));
    await page.until("!document.querySelector('dialog[open]')");
    await check(page, "removed");
  });

  test("says when the server is gone, and when there is no session", async () => {
    const page = await open(wide);
    await page.until("document.querySelector('.start')");
    await node.daemon.stop();
    await page.until("document.querySelector('.banner').innerText.includes('does not respond')");
    await launchDaemon(node.daemon);
    await page.until("document.querySelector('.banner').hidden");
    await check(page, "back");
    const other = await browser.open(ui.url.origin, wide);
    await other.until("document.body.innerText.includes('needs the token')");
    const token = JSON.stringify(ui.url.hash);
    await other.value(`location.hash = ${token}`);
    await other.until("document.querySelector('.start')");
    await other.call("Page.reload");
    await other.until("document.querySelector('.start')");
    await other.close();
    const stranger = await browser.open(ui.url.origin, wide, "light", await browser.newContext());
    await stranger.until("document.body.innerText.includes('needs the token')");
    assert.ok(!(await stranger.value<string>("document.body.innerText")).includes(name()));
  });
});
