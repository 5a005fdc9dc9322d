/** davit top in a real terminal (tmux) against a real daemon. */
import assert from "node:assert/strict";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { Davit, podOf, program, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { launchDaemon, until } from "../support/suites/pods.ts";
import { Screen } from "../support/suites/screen.ts";

let node: Node;
let davit: Davit;
/** The log of `web` has what would move the cursor, clear the screen and set the title. */
const hostile = `printf 'begin \\033[2J\\033[5;5Hmoved\\033]0;title\\007 end\\n'; ${sleeper}`;

before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
  const limit = "      resources: {limits: {memory: 64Mi}}";
  const pods = [
    podOf("web", hostile, { container: limit }),
    podOf("db", sleeper),
    podOf("job", "exit 3"),
  ];
  const { err } = await davit.run("run", davit.manifest(pods.join("---\n")));
  assert.match(err, /"default\/job\/main" exited with code 3/);
});
after(async () => {
  try {
    await davit.run("rm", "-f", "web", "db", "job");
  } finally {
    await node[Symbol.asyncDispose]();
  }
});

let screen: Screen;
beforeEach(async () => {
  const { directory, socket } = node.daemon.paths;
  const env = { DAVIT_ENDPOINT: `unix://${socket}` };
  screen = new Screen(directory, { columns: 110, rows: 24 }, env);
  await screen.shows(/shell\$/);
});
afterEach(() => screen[Symbol.dispose]());

/** Starts davit top, and waits for its rows. */
async function start(...words: readonly string[]): Promise<void> {
  screen.line(`echo before; ${[program, "top", "-n", "0.5", ...words].join(" ")}`);
  await screen.shows(/NAME +CONTAINERS +CPU/);
  assert.deepEqual(screen.modes(), { cursor: false, alternate: true });
}

/** The terminal is as before: the shell edits lines and shows what it had shown. */
async function isRestored(): Promise<void> {
  await screen.shows(/^before\n[^]*shell\$/m);
  assert.deepEqual(screen.modes(), { cursor: true, alternate: false });
  screen.line("stty -a | tr ' ;' '\\n' | grep -xE -- '-?(icanon|echo|isig|opost)' | xargs echo is");
  await screen.shows(/is isig icanon (opost )?echo|is opost isig icanon echo/);
}

async function quit(key = "q"): Promise<void> {
  await screen.shows(/NAME +CONTAINERS/);
  screen.press(key);
  await isRestored();
}

describe("davit top", () => {
  test("shows the node, the pods with their usage, and their states", async () => {
    await start();
    const text = await screen.shows(/default\/web +1\/1 +\d+\.\d% .* ready \d/);
    assert.match(
      text,
      /^davit \S+ on \S+ · ready · network ready · 3 pods · 3 containers, 2 running/,
    );
    assert.match(text, /CPU [█░]{10} \d+\.\d\d of \d+ +memory [█░]{10} \S+B of \S+B +images \S+B/);
    assert.match(text, /failures in 10 min: \d · in flight 0 · pulls 0/);
    assert.match(text, /default\/web +1\/1 +\d+\.\d% +[▁▂▃▄▅▆▇█ ]+ +\S+B +[█░]{8} 67\.1MB/);
    assert.match(text, /default\/job +0\/1 +- /);
    screen.press("Tab");
    await screen.shows(/ {4}main .* exited \(3\) \d+ \w+ ago/);
    await quit();
  });

  test("prints one frame where there is no terminal, and as JSON", async () => {
    const text = await davit.done("top", "-n", "0.5", "web");
    assert.match(
      text,
      /^davit \S+ on \S+ [^]*\n\nNAME +CONTAINERS +CPU +MEMORY +LIMIT +RESTARTS +STATE\n/,
    );
    assert.match(
      text,
      /\ndefault\/web +1\/1 .*\ndefault\/web\/main +\S+ +\S+B +67\.1MB +0 +running \d+ \w+\n$/,
    );
    const { node: header, pods } = JSON.parse(
      await davit.done("top", "-n", "0.5", "-o", "json"),
    ) as {
      node: { networkReady: boolean };
      pods: { name: string; containers: { state: string; memoryLimitBytes: number | null }[] }[];
    };
    assert.equal(header.networkReady, true);
    assert.deepEqual(
      pods.map(({ name, containers }) => [name, containers[0]?.state]),
      [
        ["default/db", "running"],
        ["default/job", "exited (3)"],
        ["default/web", "running"],
      ],
    );
    const wrong = await davit.run("top", "nothing");
    assert.deepEqual([wrong.code, wrong.out], [3, ""]);
    assert.equal((await davit.run("top", "-n", "0.1")).code, 2);
  });

  test("filters, sorts and selects", async () => {
    await start();
    screen.press("/", "d", "b");
    const filtered = await screen.shows(/\/db_/);
    assert.doesNotMatch(filtered, /default\/web/);
    screen.press("Enter");
    await screen.shows(/filter db · 1 of 3 pods/);
    screen.press("Escape");
    await screen.shows(/default\/web/);
    screen.press("N");
    await screen.shows(/sort name/);
    await screen.shows(/> . default\/db[^]* default\/job[^]* default\/web/);
    screen.press("Down", "j");
    await screen.shows(/> . default\/web/);
    screen.press("t");
    await screen.shows(/NET RX +NET TX[^]*default\/web .* \S+B\/s +\S+B\/s/);
    await quit();
  });

  test("shows history, status and logs of the selected container, harmlessly", async () => {
    await start("web");
    await screen.shows(/> . default\/web/);
    assert.doesNotMatch(screen.text(), /default\/db/);
    screen.press("w");
    await screen.shows(/why default\/web\n[^]*run pod sandbox/);
    screen.press("q", "i");
    await screen.shows(/inspect default\/web\n\{\n[^]*"status"/);
    screen.press("q", "Enter");
    await screen.shows(/logs default\/web\/main\nbegin moved end\n/);
    screen.press("q", "?");
    await screen.shows(/^Keys/);
    screen.press("q", "f");
    await screen.shows(/The last failures/);
    screen.press("q", "p");
    await screen.shows(/Operations in progress\n +\(none\)/);
    screen.press("q");
    await screen.shows(/NAME +CONTAINERS/);
    await quit();
  });

  test("hands the terminal to a shell, and takes it back", async () => {
    await start("web");
    screen.press("s");
    await screen.shows(/shell in default\/web\/main[^]*\/ #/);
    assert.deepEqual(screen.modes(), { cursor: true, alternate: false });
    screen.line("echo $((40 + 2))");
    await screen.shows(/^42$/m);
    screen.line("exit 7");
    await screen.shows(/has exited with code 7/);
    // What comes right after a shell may be replies of the terminal, and is dropped.
    await until("keys are read again", () => {
      screen.press("?");
      return /^Keys/.test(screen.text());
    });
    screen.press("q");
    await quit();
  });

  /**
   * Answers a question. Keys that come right after it are dropped, so the key is pressed until the question is gone. One
   * more of them must do nothing in the table.
   */
  async function answer(key: string, pattern: RegExp): Promise<void> {
    await until(`the answer ${key} is seen`, () => {
      if (!/\(y\/n\)/.test(screen.text())) return true;
      screen.press(key);
      return false;
    });
    await screen.shows(pattern);
  }

  test("stops a pod only after y", async () => {
    await start("db");
    // A "y" that comes right after the key that asks does not answer.
    screen.press("x", "y");
    await screen.shows(
      /stop pod default\/db\? It has 1 running container, which get SIGKILL after 1 s \(y\/n\)/,
    );
    await answer("n", /default\/db is not stopped/);
    screen.press("Space", "Down", "d");
    await screen.shows(/stop container default\/db\/main\?.* SIGKILL after 1 s \(y\/n\)/);
    await answer("y", /default\/db\/main is stopped/);
    await screen.shows(/ {4}main .* exited \(0\)/);
    screen.press("x");
    await screen.shows(/does not run/);
    await quit();
  });

  test("shows a change before the next sample", async () => {
    screen.line(`echo before; ${program} top -n 3600`);
    await screen.shows(/> . default\/web/);
    try {
      await davit.done("run", davit.manifest(podOf("late", sleeper)));
      await screen.shows(/default\/late +1\/1 /);
    } finally {
      await davit.done("rm", "-f", "late");
    }
    await until("the pod is gone", () => !screen.text().includes("default/late"));
    await quit();
  });

  test("follows the size of the terminal", async () => {
    await start();
    screen.resize(40, 10);
    await screen.shows(/^ +NAME +CPU +STATE\n[^]*default\/web +\d+\.\d% +ready/m);
    screen.resize(110, 24);
    await screen.shows(/NAME +CONTAINERS +CPU +LAST MINUTE +MEMORY +OF LIMIT +RESTARTS +STATE/);
    await quit();
  });

  test("suspends with Ctrl-Z and continues with fg", async () => {
    await start();
    screen.press("C-z");
    await screen.shows(/^before\n(.*\n)*.*(Stopped|Suspended)/m);
    assert.deepEqual(screen.modes(), { cursor: true, alternate: false });
    screen.line("fg");
    await screen.shows(/NAME +CONTAINERS/);
    screen.press("?");
    await screen.shows(/^Keys/);
    screen.press("q");
    await quit();
  });

  test("restores the terminal after an exception", async () => {
    const session = path.resolve(import.meta.dirname, "../../src/cli/top/session.ts");
    const events = "{onKey(){},onRedraw(){},onHangup(){}}";
    const script = `const {TerminalSession} = await import('${session}'); new TerminalSession(${events}).enter(); setTimeout(() => { throw new Error('crashed'); }, 500);`;
    screen.line(`echo before; ${process.execPath} --input-type=module -e "${script}"`);
    await until("the screen is taken", () => screen.modes().alternate);
    await screen.shows(/Error: crashed/);
    await isRestored();
  });

  test("stays while the server is gone", async () => {
    await start();
    await node.daemon.stop();
    await screen.shows(/server unreachable, retrying: unix:/);
    assert.match(screen.text(), /default\/web/);
    await launchDaemon(node.daemon);
    await until("the banner is gone", () => !screen.text().includes("unreachable"));
    await quit("C-c");
  });

  for (const signal of ["SIGTERM", "SIGHUP"] as const) {
    test(`restores the terminal at ${signal}, also during a shell`, async () => {
      for (const isShell of [false, true]) {
        await start("web");
        if (isShell) {
          screen.press("s");
          await screen.shows(/\/ #/);
        }
        process.kill(screen.foreground(), signal);
        await isRestored();
        screen.line("clear");
        await screen.shows(/^shell\$\s*$/);
      }
    });
  }
});
