import { RuntimeError } from "../../base/errors.ts";
import type {
  CheckedConfig,
  Container,
  ContainerSpecs,
  ResourceUpdate,
  SpecSubject,
} from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import { Trouble } from "./trouble.ts";

/** Specs that say in JSON what they were made of. */
export class FakeSpecs implements ContainerSpecs {
  readonly trouble = new Trouble<"build" | "process">();
  /** What mountLabel() answers. */
  label: string | undefined;

  check(
    config: Container["config"] | undefined,
    _sandbox: Sandbox,
    find: (id: string) => Container["config"],
  ): CheckedConfig {
    if (config?.metadata === undefined || config.image === undefined) {
      throw new RuntimeError(
        "invalid-argument",
        "check container config: metadata or image is missing",
      );
    }
    const target = config.linux?.securityContext?.namespaceOptions?.targetId ?? "";
    if (target !== "") find(target);
    return Object.assign(config, { metadata: config.metadata, image: config.image });
  }

  mountLabel(): string | undefined {
    return this.label;
  }

  async build({ container, environment, rootfs, ...rest }: SpecSubject): Promise<string> {
    await this.trouble.at("build");
    const { imageVolumes, volumes, targetPid } = rest;
    const memory = container.resources?.memoryLimitInBytes.toString();
    return JSON.stringify({
      rootfs,
      memory,
      pins: environment.pins,
      imageVolumes,
      volumes,
      targetPid,
    });
  }

  update(before: Container["resources"], update: LinuxContainerResources): ResourceUpdate {
    const { memoryLimitInBytes: asked } = update;
    if (asked < 0n) {
      throw new RuntimeError("invalid-argument", `update resources: memory is ${asked}`);
    }
    const inForce = asked === 0n && before !== undefined ? before : update;
    const limits = { resources: update, spec: JSON.stringify({ memory: Number(asked) }) };
    return { inForce, limits: asked === 0n ? undefined : limits };
  }

  async process(
    subject: SpecSubject,
    exec: { readonly args: readonly string[]; readonly terminal: boolean },
  ): Promise<string> {
    await this.trouble.at("process");
    const started = await subject.startedSpec?.();
    return JSON.stringify({ ...exec, started: started !== undefined });
  }
}
