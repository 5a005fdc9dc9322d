import { RuntimeError } from "../../base/errors.ts";

/** The option by which established TCP connections are captured, and closed by a restore. */
const closeTcpOption = "davit.close-tcp";

/** The options of a pod's checkpoint or restore. `invalid-argument` for unknown ones, with their names. */
export function optionsOf(
  options: Readonly<Record<string, string>>,
  doing: string,
): { readonly closeTcp: boolean | undefined } {
  const unknown = Object.keys(options).filter((name) => name !== closeTcpOption);
  if (unknown.length > 0) {
    const names = unknown.map((name) => JSON.stringify(name)).join(", ");
    throw new RuntimeError(
      "invalid-argument",
      `${doing}: unknown option ${names}; this version of davit has ${closeTcpOption}`,
    );
  }
  const value = options[closeTcpOption];
  if (value === undefined) return { closeTcp: undefined };
  if (value === "true" || value === "false") return { closeTcp: value === "true" };
  throw new RuntimeError(
    "invalid-argument",
    `${doing}: option ${closeTcpOption} is ${JSON.stringify(value)}; set it to "true" or "false"`,
  );
}
