import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { checkSandboxTransition, type SandboxStateName } from "./state.ts";

test("checkSandboxTransition() allows the arrows of the diagram and the same state, nothing else", () => {
  const names: readonly SandboxStateName[] = ["creating", "ready", "dead", "stopped"];
  const arrows = new Set([
    "creating ready",
    "creating dead",
    "ready dead",
    "ready stopped",
    "dead stopped",
  ]);
  for (const from of names) {
    for (const to of names) {
      const check = (): void => checkSandboxTransition("abc", from, to);
      if (from === to || arrows.has(`${from} ${to}`)) assert.doesNotThrow(check);
      else {
        assert.throws(check, (error) => isKind(error, "failed-precondition"), `${from} to ${to}`);
      }
    }
  }
  assert.throws(
    () => checkSandboxTransition("abc", "stopped", "ready"),
    /change sandbox "abc": it is stopped and cannot become ready/,
  );
});
