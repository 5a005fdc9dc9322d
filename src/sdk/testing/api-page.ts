// Makes docs/sdk-api.md from the doc comments of the SDK.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const sections = [
  ["Connections", "api/davit.ts"],
  ["Pods", "api/pod.ts"],
  ["Containers", "api/container.ts"],
  ["Images", "api/images.ts"],
  ["Events", "api/events.ts"],
  ["Snapshots", "api/snapshots.ts"],
  ["Forks", "api/fork.ts"],
  ["Options", "api/options.ts"],
  ["Errors", "errors.ts"],
] as const;

const head = `# The SDK: reference

<!-- Generated from the doc comments of src/sdk: DAVIT_UPDATE_DOCS=1 node --test src/sdk/api-page.test.ts -->

What \`import { Davit, DavitError, ExecError, cri } from "davit"\` gives. [sdk.md](sdk.md) is the guide. \`cri\` has the
messages of the CRI and the values of its enums, for \`davit.cri\`.
`;

/** The page. `directory` is src/sdk. */
export function apiPage(directory: string): string {
  const parts = sections.map(([title, file]) => {
    const text = readFileSync(join(directory, file), "utf8");
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
    const declarations = source.statements.filter(isExported).map((each) => declaration(each));
    return `## ${title}\n\n${declarations.join("\n")}`;
  });
  return `${head}\n${parts.join("\n")}`;
}

function isExported(node: ts.Statement): boolean {
  if (!ts.canHaveModifiers(node)) return false;
  return ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
}

function declaration(node: ts.Statement): string {
  if (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) return members(node);
  if (ts.isTypeAliasDeclaration(node)) {
    const type = textOf(node.type);
    return `### ${node.name.text}\n\n${comment(node)}\n\n\`\`\`ts\ntype ${node.name.text} = ${type}\n\`\`\`\n`;
  }
  throw new Error(`the page has no place for ${node.getText().slice(0, 60)}`);
}

function members(node: ts.InterfaceDeclaration | ts.ClassDeclaration): string {
  const name = node.name?.text ?? "";
  const bases = node.heritageClauses?.map((clause) => clause.getText()).join(" ") ?? "";
  const kind = ts.isClassDeclaration(node) ? "class" : "interface";
  const title = `### ${name}\n\n${comment(node)}`;
  const shown = [...node.members].filter((each) => !ts.isConstructorDeclaration(each));
  const lines = shown.map((each) => {
    const words = comment(each);
    return `- \`${signature(each)}\`${words === "" ? "" : `<br>\n  ${words.replaceAll("\n", "\n  ")}`}\n`;
  });
  const base = bases === "" ? "" : `\n\n\`${kind} ${name} ${bases}\``;
  return `${title}${base}\n${lines.length === 0 ? "" : `\n${lines.join("")}`}`;
}

/** A member without its body, on one line. */
function signature(node: ts.TypeElement | ts.ClassElement): string {
  return textOf(node)
    .replace(/^readonly /, "")
    .replace(/;$/, "");
}

/** The source of a node without comments, on one line. */
function textOf(node: ts.Node): string {
  const withoutComments = node.getText().replace(/\/\*\*[^]*?\*\//g, "");
  return withoutComments.replace(/\s+/g, " ").replace(/\( /g, "(").replace(/,? \)/g, ")").trim();
}

/** The doc comment of a node as Markdown. */
function comment(node: ts.Node): string {
  const [doc] = ts.getJSDocCommentsAndTags(node).filter((each) => ts.isJSDoc(each));
  if (doc === undefined) return "";
  const thrown = (doc.tags ?? [])
    .filter((tag) => tag.tagName.text === "throws")
    .map(
      (tag) =>
        `Throws: ${tag
          .getText()
          .replace(/^@throws\s*/, "")
          .replace(/\n\s*\*\s?/g, " ")
          .trim()}.`,
    );
  const text = (ts.getTextOfJSDocComment(doc.comment) ?? "").trim();
  return [text, ...thrown].filter((part) => part !== "").join("\n\n");
}
