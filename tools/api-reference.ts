/**
 * The API as Markdown: services, messages and enums of proto/kvault/v1, with the comments that stand
 * beside them there.
 *
 * `buf build` gives the descriptors with where everything is in its source; comments are found by
 * those places, as https://protobuf.com/docs/descriptors describes them.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Files of the public API, in the order of the page; worker.proto is between our own processes. */
const FILES = ["contexts", "inference", "models", "cluster", "common"].map((name) => `kvault/v1/${name}.proto`);
const PACKAGE = ".kvault.v1.";

interface Location {
  readonly path?: readonly number[];
  readonly leadingComments?: string;
  readonly trailingComments?: string;
}

interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName?: string;
  readonly oneofIndex?: number;
  readonly proto3Optional?: boolean;
}

interface Enum {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number?: number }[];
}

interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly oneofDecl?: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry?: boolean };
}

interface Method {
  readonly name: string;
  readonly inputType: string;
  readonly outputType: string;
  readonly clientStreaming?: boolean;
  readonly serverStreaming?: boolean;
}

interface File {
  readonly name: string;
  readonly messageType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly service?: readonly { readonly name: string; readonly method?: readonly Method[] }[];
  readonly sourceCodeInfo: { readonly location: readonly Location[] };
}

/** Numbers of the fields of descriptors that a path goes through. */
const FILE = { message: 4, enumeration: 5, service: 6 } as const;
const MESSAGE = { field: 2, nested: 3, enumeration: 4 } as const;
const MEMBER = 2;

type Comments = (...path: readonly number[]) => string;

/** Services first, then messages, file by file. */
export function apiReference(): string {
  const buf = join("node_modules", ".bin", "buf");
  const image = execFileSync(buf, ["build", "-o", "-#format=json"], { encoding: "utf8", maxBuffer: 64 * 2 ** 20 });
  const { file } = JSON.parse(image) as { readonly file: readonly File[] };
  const files = FILES.map((name) => {
    const found = file.find((each) => each.name === name);
    if (found === undefined) throw new Error(`Cannot document "${name}": it is not in the API`);
    return { found, comments: commentsOf(found) };
  });
  return [
    ...files.flatMap(({ found, comments }) => services(found, comments)),
    ...files.flatMap(({ found, comments }) => [
      ...(found.messageType ?? []).flatMap((message, i) => messageSections(message, "", comments, [FILE.message, i])),
      ...(found.enumType ?? []).map((each, i) => enumSection(each, "", comments, [FILE.enumeration, i])),
    ]),
  ].join("\n\n");
}

function commentsOf({ sourceCodeInfo }: File): Comments {
  const byPath = new Map(
    sourceCodeInfo.location.map(({ path = [], leadingComments, trailingComments }) => [
      path.join("."),
      leadingComments ?? trailingComments ?? "",
    ]),
  );
  return (...path) => (byPath.get(path.join(".")) ?? "").trim().replace(/\s*\n\s*/g, " ");
}

function services({ service = [] }: File, comments: Comments): string[] {
  return service.map(({ name, method = [] }, i) => {
    const rows = method.map((each, k) => [
      `\`${each.name}\``,
      `${each.clientStreaming === true ? "stream of " : ""}${typeLink(each.inputType)}`,
      `${each.serverStreaming === true ? "stream of " : ""}${typeLink(each.outputType)}`,
      comments(FILE.service, i, MEMBER, k),
    ]);
    return section(`Service ${name}`, comments(FILE.service, i), ["method", "takes", "gives", "what it does"], rows);
  });
}

function messageSections(message: Message, within: string, comments: Comments, path: readonly number[]): string[] {
  if (message.options?.mapEntry === true) return [];
  const name = `${within}${message.name}`;
  const rows = (message.field ?? []).map((field, i) => {
    const { oneofIndex, proto3Optional } = field;
    const oneof = oneofIndex === undefined || proto3Optional === true ? undefined : message.oneofDecl?.[oneofIndex]?.name;
    const said = comments(...path, MESSAGE.field, i);
    return [`\`${field.name}\``, typeOf(field, message), oneof === undefined ? said : `one of \`${oneof}\`. ${said}`.trim()];
  });
  const own = section(name, comments(...path), ["field", "type", "what it is"], rows);
  return [
    own,
    ...(message.nestedType ?? []).flatMap((nested, i) =>
      messageSections(nested, `${name}.`, comments, [...path, MESSAGE.nested, i]),
    ),
    ...(message.enumType ?? []).map((each, i) => enumSection(each, `${name}.`, comments, [...path, MESSAGE.enumeration, i])),
  ];
}

function enumSection({ name, value }: Enum, within: string, comments: Comments, path: readonly number[]): string {
  const rows = value.map((each, i) => [`\`${each.name}\``, String(each.number ?? 0), comments(...path, MEMBER, i)]);
  return section(`${within}${name}`, comments(...path), ["value", "number", "what it means"], rows);
}

function section(heading: string, text: string, columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const table =
    rows.length === 0 ? "It has no fields." : [line(columns), line(columns.map(() => "---")), ...rows.map(line)].join("\n");
  return [`### ${heading}`, ...(text === "" ? [] : [text]), table].join("\n\n");
}

function typeOf(field: Field, message: Message): string {
  const entry = (message.nestedType ?? []).find(
    ({ name, options }) => options?.mapEntry === true && field.typeName?.endsWith(`.${name}`),
  );
  const [key, value] = entry?.field ?? [];
  if (key !== undefined && value !== undefined) return `map of ${plainType(key)} to ${plainType(value)}`;
  const type = plainType(field);
  if (field.label === "LABEL_REPEATED") return `repeated ${type}`;
  return field.proto3Optional === true ? `optional ${type}` : type;
}

function plainType({ type, typeName }: Field): string {
  return typeName === undefined ? type.replace("TYPE_", "").toLowerCase() : typeLink(typeName);
}

/** Types of ours link to their section; Google's are named. */
function typeLink(typeName: string): string {
  if (!typeName.startsWith(PACKAGE)) return `\`${typeName.slice(1)}\``;
  const name = typeName.slice(PACKAGE.length);
  return `[${name}](#${name.toLowerCase().replaceAll(".", "")})`;
}
