import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, type Message } from "@bufbuild/protobuf";
import type * as gen from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  ContainerSchema,
  ContainerState,
  ContainerUpdateSchema,
  PodSandboxSchema,
} from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type * as changes from "./changes.ts";
import { toMessage, toPlain } from "./convert.ts";
import type * as handlers from "./handlers.ts";
import type * as messages from "./messages.ts";

// The types of messages.ts and changes.ts are written by hand; the compiler compares them with the protocol here.

type PlainName<K> = K extends "CDIDevices"
  ? "cdiDevices"
  : K extends "NRIVersion"
    ? "nriVersion"
    : K;
/** What toPlain() makes of a message: numbers of enumerations as strings, optional values without their message. */
type Plain<T> =
  T extends Message<infer N>
    ? N extends `${string}.Optional${string}`
      ? T extends { value: infer V }
        ? Plain<V>
        : never
      : {
          [K in keyof T as K extends `$${string}` ? never : PlainName<K>]: Plain<
            Exclude<T[K], undefined>
          >;
        }
    : T extends readonly (infer I)[]
      ? Plain<I>[]
      : T extends number
        ? number extends T
          ? number
          : string
        : T extends object
          ? { [K in keyof T]: Plain<T[K]> }
          : T;
/** A type without readonly and with any string in the place of certain ones. */
type Loose<T> = T extends string
  ? string
  : T extends readonly (infer I)[]
    ? Loose<I>[]
    : T extends object
      ? { -readonly [K in keyof T]: Loose<T[K]> }
      : T;
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
/** A request, without what comes from the connection. */
type Fields<T> = Loose<Omit<T, "signal" | "unsupported" | "requestTimeoutMs">>;

const compared: readonly true[] = [
  true satisfies Same<Loose<messages.PodSandbox>, Plain<gen.PodSandbox>>,
  true satisfies Same<Loose<messages.Container>, Plain<gen.Container>>,
  true satisfies Same<Loose<changes.ContainerAdjustment>, Plain<gen.ContainerAdjustment>>,
  true satisfies Same<Loose<changes.ContainerUpdate>, Plain<gen.ContainerUpdate>>,
  true satisfies Same<Loose<changes.ContainerEviction>, Plain<gen.ContainerEviction>>,
  true satisfies Same<
    Fields<handlers.ConfigureRequest>,
    Omit<Plain<gen.ConfigureRequest>, "registrationTimeout" | "requestTimeout">
  >,
  true satisfies Same<
    Fields<handlers.UpdatePodSandboxRequest>["linuxResources"],
    Plain<gen.UpdatePodSandboxRequest>["linuxResources"]
  >,
  true satisfies Same<
    keyof Fields<handlers.UpdatePodSandboxRequest>,
    keyof Plain<gen.UpdatePodSandboxRequest>
  >,
  true satisfies Same<
    keyof Fields<handlers.UpdateContainerRequest>,
    keyof Plain<gen.UpdateContainerRequest>
  >,
  true satisfies Same<
    Omit<Fields<handlers.ValidateContainerAdjustmentRequest>, "pod" | "container" | "owners">,
    Omit<Plain<gen.ValidateContainerAdjustmentRequest>, "pod" | "container" | "owners">
  >,
];

describe("toPlain()", () => {
  it("has the types that are written down", () => assert.ok(compared.every(Boolean)));

  it("gives lists, maps and strings for absent ones, and no other absent field", () => {
    assert.deepEqual(toPlain(PodSandboxSchema, create(PodSandboxSchema, { id: "p1" })), {
      id: "p1",
      name: "",
      uid: "",
      namespace: "",
      labels: {},
      annotations: {},
      runtimeHandler: "",
      pid: 0,
      ips: [],
    });
  });

  it("gives names of enumerations, and the number of an unknown one", () => {
    const stateOf = (state: ContainerState): string =>
      (toPlain(ContainerSchema, create(ContainerSchema, { state })) as messages.Container).state;
    assert.equal(stateOf(ContainerState.CONTAINER_STOPPED), "CONTAINER_STOPPED");
    assert.equal(stateOf(99 as ContainerState), "99");
  });

  it("keeps keys of maps that are names of objects' members", () => {
    const labels = Object.fromEntries([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]);
    const message = toMessage(PodSandboxSchema, { labels });
    const plain = toPlain(PodSandboxSchema, message) as messages.PodSandbox;
    assert.deepEqual(Object.entries(plain.labels), Object.entries(labels));
  });
});

describe("toMessage()", () => {
  const refused: readonly (readonly [value: object, reason: string])[] = [
    [{ id: "c1" }, 'ContainerUpdate: there is no field "id"'],
    [{ containerId: 5 }, "ContainerUpdate.containerId: expected a string, got 5"],
    [{ ignoreFailure: "yes" }, 'ContainerUpdate.ignoreFailure: expected a boolean, got "yes"'],
    [{ linux: [], containerId: null }, "ContainerUpdate.containerId: expected a string, got null"],
    [{ linux: "x" }, 'ContainerUpdate.linux: expected an object, got "x"'],
    [
      { linux: { resources: { memory: { limit: 2n ** 63n } } } },
      "ContainerUpdate.linux.resources.memory.limit: expected from -9223372036854775808 to " +
        "9223372036854775807, got 9223372036854775808n",
    ],
    [
      { linux: { resources: { cpu: { shares: 0.5 } } } },
      "ContainerUpdate.linux.resources.cpu.shares: expected a whole number, got 0.5",
    ],
    [
      { linux: { resources: { unified: { "memory.high": 5 } } } },
      'ContainerUpdate.linux.resources.unified["memory.high"]: expected a string, got 5',
    ],
    [
      { linux: { resources: { devices: {} } } },
      "ContainerUpdate.linux.resources.devices: expected a list, got {}",
    ],
  ];
  for (const [value, reason] of refused) {
    it(`says: ${reason}`, () => {
      assert.throws(() => toMessage(ContainerUpdateSchema, value), new TypeError(reason));
    });
  }

  it("takes numbers for 64 bits and leaves absent fields absent", () => {
    const message = toMessage(ContainerUpdateSchema, {
      containerId: "c1",
      linux: { resources: { memory: { limit: 0 }, cpu: undefined } },
    });
    assert.equal(message.linux?.resources?.memory?.limit?.value, 0n);
    assert.equal(message.linux.resources.cpu, undefined);
  });

  it("knows the names of enumerations", () => {
    const message = toMessage(ContainerSchema, { state: "CONTAINER_RUNNING" });
    assert.equal(message.state, ContainerState.CONTAINER_RUNNING);
    assert.throws(
      () => toMessage(ContainerSchema, { state: "RUNNING" }),
      /the name of a ContainerState/,
    );
  });
});
