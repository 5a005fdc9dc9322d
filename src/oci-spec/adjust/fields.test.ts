import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import {
  ContainerAdjustmentSchema,
  IOPrioClassSchema,
  LinuxSchedulerFlagSchema,
  LinuxSchedulerPolicySchema,
  MpolFlagSchema,
  MpolModeSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { containerSpec } from "../generate.ts";
import { adjustmentFields } from "../testing/adjustment-fields.ts";
import { specInput } from "../testing/spec-input.ts";
import { adjustedSpec } from "./adjust.ts";
import type { AdjustFacts } from "./facts.ts";
import * as names from "./names.ts";
import { containerCases } from "./testing/container-cases.ts";
import { type FieldCase, type FieldCases, linux, plain, v2 } from "./testing/field-case.ts";
import { linuxCases } from "./testing/linux-cases.ts";
import { resourceCases } from "./testing/resource-cases.ts";

const cases: FieldCases = { ...containerCases, ...linuxCases, ...resourceCases };

/** They are among the container's resources in force, of which the spec is made: divideAdjustment(). */
const ofCri: readonly string[] = [
  "linux.resources.memory.limit",
  "linux.resources.memory.swap",
  "linux.resources.cpu.shares",
  "linux.resources.cpu.quota",
  "linux.resources.cpu.period",
  "linux.resources.cpu.cpus",
  "linux.resources.cpu.mems",
  "linux.resources.hugepage_limits",
  "linux.resources.unified",
];

const adjusted = ({ adjust, spec = plain }: FieldCase, facts: AdjustFacts): OciSpec =>
  adjustedSpec(spec, create(ContainerAdjustmentSchema, adjust), facts);

describe("adjustedSpec()", () => {
  test("has a case for each field, or the resources of the CRI have it", () => {
    const known = [...Object.keys(cases), ...ofCri];
    assert.deepEqual(known.toSorted(), adjustmentFields().toSorted());
  });

  for (const [field, all] of Object.entries(cases)) {
    for (const [index, one] of all.entries()) {
      test(`${field}, case ${index}`, () => {
        if (one.look !== undefined) {
          const spec = adjusted(one, one.facts ?? v2);
          assert.deepEqual(one.look(spec), one.want);
        }
        const { refusedBy, message } = one;
        if (refusedBy === undefined) return;
        assert.throws(
          () => adjusted(one, refusedBy),
          (error) => isKind(error, "failed-precondition") && message?.test(String(error)) === true,
        );
      });
    }
  }

  test("an empty adjustment changes nothing", () => {
    assert.deepEqual(adjusted({ adjust: { linux: { resources: {} } } }, v2), plain);
  });

  test("a limit of writable layers holds with a plugin's seccomp policy too", () => {
    const adjustment = create(
      ContainerAdjustmentSchema,
      linux({ seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } }),
    );
    const { seccomp } = containerSpec(
      specInput({}, { isLayerLimited: true, adjust: { adjustment } }),
    ).linux;
    assert.ok(seccomp?.syscalls?.some(({ names: syscalls }) => syscalls.includes("ioctl")));
  });

  test("enums have the names of NRI's messages", () => {
    const namesOf = ({ values }: { readonly values: readonly { readonly name: string }[] }) =>
      values.map(({ name }) => name);
    assert.deepEqual(names.policies, namesOf(LinuxSchedulerPolicySchema));
    assert.deepEqual(names.policyFlags, namesOf(LinuxSchedulerFlagSchema));
    assert.deepEqual(names.ioClasses, namesOf(IOPrioClassSchema));
    assert.deepEqual(names.memoryModes, namesOf(MpolModeSchema));
    assert.deepEqual(names.memoryFlags, namesOf(MpolFlagSchema));
  });
});
