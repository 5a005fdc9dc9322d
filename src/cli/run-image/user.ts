import type { Options } from "../command-line/options.ts";

/** The user of --user: numbers are fields of a Pod, and names are not. */
export type ImageUser =
  | { readonly runAsUser: number; readonly runAsGroup?: number }
  /** USER[:GROUP], at least one of them a name, which the server looks up in the image. */
  | { readonly username: string };

const form = /^(?<user>[^\s:]+)(?::(?<group>[^\s:]+))?$/;
const number = /^\d{1,10}$/;

/** Reads --user as docker does: USER[:GROUP], each a number or a name. Throws a UsageError for one that is invalid. */
export function readUser(options: Options): ImageUser | undefined {
  const text = options.text("user");
  if (text === undefined) return undefined;
  const { user, group } = form.exec(text)?.groups ?? {};
  if (user === undefined) {
    throw options.invalid("user", `is "${text}": must be USER[:GROUP], each a number or a name`);
  }
  const isNumeric = number.test(user) && (group === undefined || number.test(group));
  if (!isNumeric) return { username: text };
  return {
    runAsUser: Number(user),
    ...(group !== undefined && { runAsGroup: Number(group) }),
  };
}
