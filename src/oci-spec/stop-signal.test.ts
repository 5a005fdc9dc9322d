import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";
import { Signal } from "../gen/runtime/v1/api_pb.ts";
import { parseSignal, signalOfCri, stopSignal } from "./stop-signal.ts";

test("parseSignal() knows the machine's signals by name, with and without SIG, and by number", () => {
  for (const [name, number] of Object.entries(constants.signals)) {
    assert.equal(parseSignal(name)?.number, number, name);
    assert.equal(parseSignal(name.slice(3).toLowerCase())?.number, number, name);
    assert.equal(parseSignal(String(number))?.number, number, name);
  }
  assert.deepEqual(parseSignal(" 15 "), { name: "SIGTERM", number: 15 });
  assert.deepEqual(parseSignal("SIGPOLL"), { name: "SIGIO", number: 29 });
});

test("parseSignal() counts real-time signals from both ends", () => {
  for (const [text, number, name] of [
    ["SIGRTMIN", 34, "SIGRTMIN"],
    ["SIGRTMIN+3", 37, "SIGRTMIN+3"],
    ["RTMIN+16", 50, "SIGRTMAX-14"],
    ["SIGRTMAX-14", 50, "SIGRTMAX-14"],
    ["SIGRTMAX", 64, "SIGRTMAX"],
    ["64", 64, "SIGRTMAX"],
  ] as const) {
    assert.deepEqual(parseSignal(text), { name, number }, text);
  }
});

test("parseSignal() knows nothing else", () => {
  for (const text of [
    "",
    "0",
    "32",
    "33",
    "65",
    "SIG",
    "SIGWHAT",
    "TERM2",
    "-15",
    "SIGRTMIN-1",
    "SIGRTMAX+1",
    "constructor",
  ]) {
    assert.equal(parseSignal(text), undefined, text);
  }
});

test("signalOfCri() knows the whole enum, a number each except for aliases", () => {
  const seen = new Set<number>();
  for (const value of Object.values(Signal)) {
    if (value === Signal.RUNTIME_DEFAULT) continue;
    const signal = signalOfCri(value);
    assert.ok(signal !== undefined, String(value));
    seen.add(signal.number);
  }
  assert.equal(seen.size, 62); // 1 to 31 and 34 to 64
  assert.equal(signalOfCri(Signal.RUNTIME_DEFAULT), undefined);
  assert.equal(signalOfCri(99 as Signal), undefined);
});

test("stopSignal() takes the request's, else the image's, else SIGTERM", () => {
  const unknown: string[] = [];
  const of = (requested: Signal, image: string): string =>
    stopSignal(requested, image, (text) => unknown.push(text)).name;
  assert.equal(of(Signal.SIGUSR1, "SIGQUIT"), "SIGUSR1");
  assert.equal(of(Signal.RUNTIME_DEFAULT, "SIGQUIT"), "SIGQUIT");
  assert.equal(of(Signal.RUNTIME_DEFAULT, "3"), "SIGQUIT");
  assert.equal(of(Signal.RUNTIME_DEFAULT, ""), "SIGTERM");
  assert.deepEqual(unknown, []);
  assert.equal(of(Signal.RUNTIME_DEFAULT, "nonsense"), "SIGTERM");
  assert.deepEqual(unknown, ["nonsense"]);
});
