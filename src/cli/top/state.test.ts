import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Key } from "./keys.ts";
import { podRows, type Row, selectRows } from "./rows.ts";
import { flatten, initialState, press, settle, type Step, type TopState } from "./state.ts";
import { container, pod, sample } from "./testing/samples.ts";
import { UsageHistory } from "./usage.ts";

const node = sample({
  pods: [pod("p1", "default/web"), pod("p2", "kube/dns"), pod("p3", "kube/empty")],
  containers: [container("app", "p1"), container("side", "p1"), container("dns", "p2")],
});
const pods = selectRows(podRows(node, new UsageHistory()), { sort: "name", filter: "" });

function keyOf(word: string): Key {
  const isNamed = word.length > 1;
  return isNamed ? ({ name: word } as Key) : { name: "text", text: word };
}

/** Presses keys one after the other, and settles after each as the screen does. */
function pressAll(words: readonly string[], from: TopState = initialState): Step {
  let step: Step = { state: settle(from, shown(from), []) };
  for (const word of words) {
    step = press(step.state, keyOf(word), shown(step.state));
    step = { ...step, state: settle(step.state, shown(step.state), shown(step.state).rows) };
  }
  return step;
}

function shown({ open }: TopState): { rows: readonly Row[]; height: number; screen: number } {
  return { rows: flatten(pods, open), height: 2, screen: 10 };
}

describe("press()", () => {
  test("moves the selection, and scrolls to it", () => {
    assert.deepEqual(pressAll([]).state.selected, "p1");
    const down = pressAll(["down", "j"]).state;
    assert.deepEqual([down.selected, down.top], ["p3", 1]);
    const up = pressAll(["end", "k", "up", "up"]).state;
    assert.deepEqual([up.selected, up.top], ["p1", 0]);
    assert.equal(pressAll(["page-down", "G", "page-up"]).state.selected, "p1");
  });

  test("shows and hides the containers of a pod", () => {
    assert.deepEqual([...pressAll([" "]).state.open], ["p1"]);
    assert.equal(pressAll([" ", "down"]).state.selected, "app");
    const folded = pressAll([" ", "down", "left"]).state;
    assert.deepEqual([folded.selected, folded.open.size], ["p1", 0]);
    assert.equal(pressAll(["tab"]).state.open.size, 3);
    assert.equal(pressAll(["tab", "tab"]).state.open.size, 0);
  });

  test("acts on the only container of a pod, and unfolds a pod with several", () => {
    const several = pressAll(["l"]);
    assert.equal(several.action, undefined);
    assert.match(several.message?.text ?? "", /web has several containers/);
    assert.equal(several.state.open.has("p1"), true);
    const one = pressAll(["down", "enter"]).action;
    assert.deepEqual(one?.do === "logs" ? one.row.id : one, "dns");
    const chosen = pressAll([" ", "down", "down", "s"]).action;
    assert.deepEqual(chosen?.do === "shell" ? chosen.row.id : chosen, "side");
    assert.match(pressAll(["end", "l"]).message?.text ?? "", /has no containers/);
    assert.equal(pressAll(["w"]).action?.do, "why");
    assert.equal(pressAll(["i"]).action?.do, "inspect");
  });

  test("stops only after y", () => {
    const [row] = pods;
    assert.ok(row);
    const asked: TopState = { ...initialState, mode: { name: "confirm", question: "?", row } };
    assert.equal(pressAll(["x"]).action?.do, "ask-stop");
    assert.deepEqual(pressAll(["y"], asked).action, { do: "stop", row });
    for (const key of ["n", "enter", "escape", " ", "q", "x"]) {
      const { action, state, message } = pressAll([key], asked);
      assert.equal(action, undefined, key);
      assert.equal(state.mode.name, "table", key);
      assert.match(message?.text ?? "", /default\/web is not stopped/, key);
    }
  });

  test("edits the filter: Enter keeps it, Escape returns to the one before", () => {
    const typed = pressAll(["/", "d", "x", "backspace", "n"]).state;
    assert.deepEqual([typed.filter, typed.mode.name], ["dn", "filter"]);
    assert.deepEqual(pressAll(["enter"], typed).state.mode.name, "table");
    assert.deepEqual(pressAll(["escape"], typed).state.filter, "");
    const kept = pressAll(["/", "a", "enter", "/", "b"]).state;
    assert.equal(kept.filter, "ab");
    assert.equal(pressAll(["escape"], kept).state.filter, "a");
    assert.equal(pressAll(["escape", "escape"], kept).state.filter, "");
    assert.equal(pressAll(["/", "q"]).action, undefined, "q is a letter here");
  });

  test("quits, suspends and redraws in every mode", () => {
    const [row] = pods;
    assert.ok(row);
    const modes: readonly TopState["mode"][] = [
      { name: "table" },
      { name: "filter", before: "" },
      { name: "confirm", question: "?", row },
      { name: "pager", pager: { title: "", lines: [], top: 0 } },
    ];
    for (const mode of modes) {
      const state = { ...initialState, mode };
      assert.equal(pressAll(["ctrl-c"], state).action?.do, "interrupt");
      assert.equal(pressAll(["ctrl-z"], state).action?.do, "suspend");
      assert.equal(pressAll(["ctrl-l"], state).action?.do, "redraw");
    }
    assert.equal(pressAll(["q"]).action?.do, "quit");
    const closed = pressAll(["q"], { ...initialState, mode: modes[3] ?? { name: "table" } });
    assert.deepEqual([closed.action?.do, closed.state.mode.name], ["close", "table"]);
  });

  test("keys that do nothing keep the message", () => {
    const [row] = pods;
    assert.ok(row);
    const unbound: readonly (readonly [TopState["mode"], readonly string[]])[] = [
      [{ name: "table" }, ["y", "n", "Z", "backspace"]],
      [{ name: "filter", before: "" }, ["up", "page-down"]],
      [{ name: "pager", pager: { title: "", lines: [], top: 0 } }, ["?", "y", "x"]],
    ];
    for (const [mode, keys] of unbound) {
      const state = pressAll([], { ...initialState, mode }).state;
      for (const key of keys) {
        const step = press(state, keyOf(key), shown(state));
        assert.deepEqual(step, { state, isUnbound: true }, `${mode.name}, ${key}`);
      }
      for (const key of mode.name === "table" ? ["j", "o", "t", "w", "q"] : ["enter"]) {
        const { isUnbound } = press(state, keyOf(key), shown(state));
        assert.equal(isUnbound, undefined, `${mode.name}, ${key}`);
      }
    }
    const asked: TopState = { ...initialState, mode: { name: "confirm", question: "?", row } };
    assert.equal(pressAll(["Z"], asked).isUnbound, undefined, "every key answers a question");
    const empty = press(initialState, keyOf("x"), { rows: [], height: 2, screen: 10 });
    assert.equal(empty.isUnbound, true, "no row to act on");
  });

  test("cycles through the orders", () => {
    const sorts = ["", "o", "oo", "ooo", "oooo", "N"].map(
      (keys) => pressAll(keys.split(/(?=.)/)).state.sort,
    );
    assert.deepEqual(sorts, ["cpu", "memory", "age", "name", "cpu", "name"]);
  });
});

describe("settle()", () => {
  const before = flatten(pods, new Set(["p1"]));

  test("keeps the selected row in the table when the order changes", () => {
    const state = { ...initialState, selected: "p1", isChosen: true };
    const rows = before.toReversed();
    const settled = settle(state, { rows, height: 2, screen: 10 }, before);
    assert.deepEqual([settled.selected, settled.top], ["p1", 3]);
  });

  test("selects the first row until the user selects one", () => {
    const rows = before.toReversed();
    const fresh = { ...initialState, selected: "p1" };
    assert.equal(settle(fresh, { rows, height: 2, screen: 10 }, before).selected, "p3");
  });

  test("selects the pod of a container that is gone, or the row in its place", () => {
    const without = (...ids: readonly string[]): string | undefined => {
      const rows = before.filter(({ id }) => !ids.includes(id));
      const state = { ...initialState, selected: "side", isChosen: true };
      return settle(state, { rows, height: 9, screen: 10 }, before).selected;
    };
    assert.equal(without("side"), "p1");
    assert.equal(without("side", "p1", "app"), "p3");
    assert.equal(without("side", "p1", "app", "p2", "p3"), undefined);
  });
});
