/**
 * Replaces $(NAME) with the value of the variable, as Kubernetes does in command, args and env. $$ is an
 * escaped $, so $$(NAME) becomes $(NAME). References to unknown variables stay unchanged.
 */
export function expandVariables(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replace(/\$(?:\$|\(([^()]*)\))/g, (whole, name: string | undefined) =>
    name === undefined ? "$" : (variables.get(name) ?? whole),
  );
}
