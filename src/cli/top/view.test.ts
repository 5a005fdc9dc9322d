import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { cellWidth } from "./cells.ts";
import { container, nowMs, pod, quietNode, sample } from "./testing/samples.ts";
import { busyNode, drawingOf, frameOf, sceneOf } from "./testing/scenes.ts";
import { frame } from "./view.ts";

const utf8 = "C.UTF-8";

describe("frame()", () => {
  test("draws the node, the pods and the containers of open pods", () => {
    const scene = sceneOf(busyNode, { open: new Set(["p1", "p3", "p4"]) });
    assert.deepEqual(frameOf(scene, { columns: 120, rows: 16 }, utf8), [
      "davit 0.1.0 on kube-7 · ready · network ready · 4 pods · 5 containers, 4 running",
      "CPU ██░░░░░░░░ 1.27 of 8   memory ░░░░░░░░░░ 75.0MB of 32.0GB   images 61.0GB",
      "failures in 10 min: 1 · in flight 1: run pod sandbox x_kube-system in add-network (calico), 9.2 s · pulls 1: docker.io/l",
      "  NAME               CONTAINERS      CPU  LAST MINUTE    MEMORY  OF LIMIT          RESTARTS  STATE",
      "> ▾ default/job      0/1               -                      -                           0  notready 2 h",
      "      main                             -                      -                           0  exited (3) 2 min ago",
      "  ▾ default/web      2/2          127.0%        ██████   60.0MB  █████░░░ 96.0MB          4  ready 2 h",
      "      nginx                       125.0%        ██████   48.0MB  ██████░░ 64.0MB          0  running 1 h",
      "      logger                        2.0%        ▄▄▄▄▄▄   12.0MB  ███░░░░░ 32.0MB          4  running 1 h",
      "  ▾ default/日本語   1/1            0.0%        ▁▁▁▁▁▁    3.0MB  ██████░░ 4.0MB           0  ready 2 h",
      "      🚀                            0.0%        ▁▁▁▁▁▁    3.0MB  ██████░░ 4.0MB           0  running 1 h",
      "  ▸ kube-system/dns  1/1            0.4%        ▂▂▂▂▂▂   12.0MB                           0  ready 2 h",
      "",
      "",
      "",
      "Enter logs  s shell  w why  i inspect  x stop  ? help  q quit  / filter  Space unfold  o sort                  sort name",
    ]);
  });

  test("drops columns of a narrow terminal, and draws in ASCII without a UTF-8 locale", () => {
    const scene = sceneOf(busyNode, { open: new Set(["p1"]), traffic: true });
    assert.deepEqual(frameOf(scene, { columns: 90, rows: 13 }), [
      "davit 0.1.0 on kube-7 | ready | network ready | 4 pods | 5 containers, 4 running",
      "CPU ##........ 1.27 of 8   memory .......... 75.0MB of 32.0GB   images 61.0GB",
      "failures in 10 min: 1 | in flight 1: run pod sandbox x_kube-system in add-network (calico)",
      "  NAME               CONTAINERS      CPU   MEMORY     NET RX     NET TX  STATE",
      "> + default/job      0/1               -        -          -          -  notready 2 h",
      "  - default/web      2/2          127.0%   60.0MB          -          -  ready 2 h",
      "      nginx                       125.0%   48.0MB                        running 1 h",
      "      logger                        2.0%   12.0MB                        running 1 h",
      "  + default/日本語   1/1            0.0%    3.0MB          -          -  ready 2 h",
      "  + kube-system/dns  1/1            0.4%   12.0MB          -          -  ready 2 h",
      "",
      "",
      "Enter logs  s shell  w why  i inspect  x stop  ? help  q quit  / filter          sort name",
    ]);
    assert.deepEqual(frameOf(sceneOf(busyNode), { columns: 40, rows: 10 }), [
      "davit 0.1.0 on kube-7 | ready | network",
      "CPU ##........ 1.27 of 8   memory ......",
      "failures in 10 min: 1 | in flight 1: run",
      "  NAME                 CPU  STATE",
      "> + default/job          -  notready 2 h",
      "  + default/web     127.0%  ready 2 h",
      "  + default/日本~     0.0%  ready 2 h",
      "  + kube-system/~     0.4%  ready 2 h",
      "",
      "Enter logs  s shell  w why     sort name",
    ]);
  });

  test("says why the node is not ready, and leaves out what other servers do not report", () => {
    const node = {
      ...quietNode,
      networkReady: false,
      reason: "no network configuration\u001b[2J",
      activity: undefined,
    };
    const scene = {
      ...sceneOf(sample({ node })),
      banner: "server unreachable, retrying: unix:///x",
    };
    assert.deepEqual(frameOf(scene, { columns: 70, rows: 7 }), [
      "davit 0.1.0 on kube-7 | ready | network not ready | 0 pods | 0 contain",
      "CPU .......... - of 8   memory .......... - of 32.0GB   images 61.0GB",
      "no network configuration?[2J",
      "server unreachable, retrying: unix:///x",
      "  NAME  CONTAINERS      CPU   MEMORY  RESTARTS  STATE",
      "",
      "Enter logs  s shell  w why  i inspect  x stop  ? help        sort name",
    ]);
  });

  test("shows the filter, a question, a message and a text at the bottom", () => {
    const size = { columns: 60, rows: 8 };
    const bottom = (changes: Parameters<typeof sceneOf>[1], text?: string): string | undefined => {
      const message = text === undefined ? undefined : ({ text, tone: "red" } as const);
      return frameOf({ ...sceneOf(busyNode, changes), message }, size).at(-1);
    };
    const filter = { name: "filter", before: "" } as const;
    assert.match(bottom({ filter: "we\u001b", mode: filter }) ?? "", /^\/we\?_ {2}Enter keeps/);
    const [row] = sceneOf(busyNode).rows;
    assert.ok(row);
    const question = "stop pod default/web?";
    assert.equal(bottom({ mode: { name: "confirm", question, row } }), `${question} (y/n)`);
    assert.match(bottom({ filter: "web" }) ?? "", /sort name \| filter web \| 1 of 4 pods$/);
    assert.equal(bottom({}, "it failed"), "it failed");
    const pager = { title: "logs default/web", lines: ["a", "b"], top: 0 };
    assert.deepEqual(frameOf(sceneOf(busyNode, { mode: { name: "pager", pager } }), size), [
      "logs default/web",
      "a",
      "b",
      "",
      "",
      "",
      "",
      "q back  Up/Down/PgUp/PgDn scroll  g start  G end",
    ]);
  });

  test("has exactly the rows of the terminal, and no line is wider, at any size", () => {
    for (let columns = 1; columns <= 130; columns += 3) {
      for (const rows of [1, 2, 5, 9, 30]) {
        const scene = sceneOf(busyNode, {
          open: new Set(["p1", "p4"]),
          traffic: columns % 2 === 0,
        });
        const lines = frame(
          scene,
          { columns, rows },
          drawingOf(scene, { locale: utf8, isTTY: true }),
        );
        assert.equal(lines.length, rows);
        for (const line of lines) {
          assert.ok(cellWidth(stripVTControlCharacters(line)) <= columns, `${columns}: ${line}`);
        }
      }
    }
  });

  test("colors states, and inverts the selected row", () => {
    const scene = sceneOf(busyNode);
    const lines = frame(scene, { columns: 120, rows: 10 }, drawingOf(scene, { isTTY: true }));
    assert.match(lines[4] ?? "", /^\u001b\[7m> . default\/job[^\u001b]*\u001b\[27m$/);
    assert.match(lines[5] ?? "", /default\/web.*\u001b\[32mready 2 h/);
  });

  test("shows only the rows that fit, from the first visible one on", () => {
    const pods = Array.from({ length: 200 }, (_, at) =>
      pod(`p${at}`, `ns/${String(at).padStart(3, "0")}`),
    );
    const containers = pods.map(({ id }) => container(`c-${id}`, id));
    const scene = sceneOf(sample({ pods, containers, atMs: nowMs }), {
      selected: "p150",
      isChosen: true,
    });
    const lines = frameOf(scene, { columns: 80, rows: 25 });
    assert.match(lines.join("\n"), /^> . ns\/150/m);
    assert.equal(lines.filter((line) => line.includes("ns/")).length, 20);
  });
});
