import { RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { Container } from "../../core/container/index.ts";
import type { HandlerSettings } from "../../core/handler/index.ts";
import type { OciSeccomp } from "../../core/oci/index.ts";
import { readRegular } from "../../linux/file/index.ts";
import { parseSeccompProfile, seccompChoice, type SpecInput } from "../../oci-spec/index.ts";

/**
 * The seccomp profile that a container needs from a file: that of its request, or with RuntimeDefault that of its
 * handler. `failed-precondition` if the file does not exist.
 */
export async function readSeccomp(
  config: Container["config"],
  { seccompProfile }: Pick<HandlerSettings, "seccompProfile">,
): Promise<Pick<SpecInput, "localhostSeccomp" | "handlerSeccomp">> {
  const choice = seccompChoice(config.linux?.securityContext);
  if (choice.name === "localhost") return { localhostSeccomp: await readProfile(choice.ref) };
  if (choice.name !== "runtime-default" || seccompProfile === "") return {};
  return { handlerSeccomp: await readProfile(seccompProfile) };
}

async function readProfile(file: string): Promise<OciSeccomp> {
  try {
    return parseSeccompProfile(await readRegular(file, "open it"), file);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") {
      throw new RuntimeError(
        "failed-precondition",
        `read seccomp profile "${file}": this node does not have it; create it`,
        { cause: error },
      );
    }
    throw wrap(`read seccomp profile "${file}"`, error);
  }
}
