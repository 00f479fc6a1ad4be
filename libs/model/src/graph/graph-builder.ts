/**
 * Builds one ONNX graph node by node and writes it as a ModelProto.
 *
 * Values are names. Weights are references into one external data file shared by every
 * graph of a model (see weights-file.ts); only shape constants are stored inline, once each.
 * Opset 21 plus the `com.microsoft` operators of ONNX Runtime.
 *
 * @module
 */
import onnxProto from "onnx-proto";
import type { ElementType, MatrixInfo, WeightsIndex } from "./weights-file.ts";

const { onnx } = onnxProto;

/** The name of a tensor inside a graph. */
export type Value = string;
/** How activations enter the products with quantised weights. */
export type Activations = "int8" | "f32";
/** A size, or the name of a dimension known only at run time. */
export type Dim = number | string;
export type Attribute = number | string | readonly number[] | { readonly float: number };

export const MICROSOFT = "com.microsoft";

const DATA_TYPE: Record<ElementType, number> = { f32: 1, u8: 2, i32: 6, i64: 7 };
const IR_VERSION = 10;
const OPSET = 21;

type INode = InstanceType<typeof onnx.NodeProto>;

export class GraphBuilder {
  private readonly nodes: INode[] = [];
  private readonly inputs: object[] = [];
  private readonly outputs: object[] = [];
  private readonly initializers = new Map<string, object>();
  private readonly weights: WeightsIndex;
  private readonly weightsFileName: string;
  readonly activations: Activations;

  /** `weights` describes `weightsFileName`, which lies beside the graph's file. */
  constructor(weights: WeightsIndex, weightsFileName: string, activations: Activations) {
    this.weights = weights;
    this.weightsFileName = weightsFileName;
    this.activations = activations;
  }

  input(name: string, type: ElementType, shape: readonly Dim[]): Value {
    this.inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Makes `value` an output; it must have been produced under this name. */
  output(value: Value, type: ElementType, shape: readonly Dim[]): void {
    this.outputs.push(valueInfo(value, type, shape));
  }

  /** One node; returns its output, or its outputs when `names` gives several. */
  node(opType: string, inputs: readonly Value[], attributes?: Readonly<Record<string, Attribute>>, domain?: string): Value {
    return this.nodeWithOutputs(opType, inputs, [`${opType}_${this.nodes.length}`], attributes, domain)[0] as Value;
  }

  /** The same with the outputs' names chosen; an empty name leaves an optional output out. */
  nodeWithOutputs(
    opType: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = "",
  ): readonly Value[] {
    const attribute = Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value));
    this.nodes.push(onnx.NodeProto.create({ opType, input: [...inputs], output: [...outputs], attribute, domain }));
    return outputs;
  }

  /** A node of ONNX Runtime's own operator set. */
  microsoft(opType: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    return this.node(opType, inputs, attributes, MICROSOFT);
  }

  /** An int64 vector, stored inline once per distinct content. */
  ints(...values: readonly number[]): Value {
    const name = `ints_${values.join("_").replaceAll("-", "m")}`;
    if (!this.initializers.has(name)) {
      const rawData = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
      this.initializers.set(name, { name, dims: [values.length], dataType: DATA_TYPE.i64, rawData });
    }
    return name;
  }

  /** An int64 scalar. */
  scalarInt(value: number): Value {
    const name = `int_${String(value).replace("-", "m")}`;
    this.initializers.set(name, {
      name,
      dims: [],
      dataType: DATA_TYPE.i64,
      rawData: new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
    });
    return name;
  }

  /** An f32 scalar. */
  scalarFloat(value: number): Value {
    const name = `float_${String(value).replaceAll("-", "m").replaceAll("+", "")}`;
    this.initializers.set(name, {
      name,
      dims: [],
      dataType: DATA_TYPE.f32,
      rawData: new Uint8Array(Float32Array.of(value).buffer),
    });
    return name;
  }

  /** A weight of the external file; `alias` and `shape` give the same bytes another name and form. */
  weight(name: string, alias: string = name, shape?: readonly number[]): Value {
    const tensor = this.weights.tensors[name];
    if (tensor === undefined) throw new RangeError(`Cannot reference weight "${name}": not in the weights file`);
    this.initializers.set(alias, {
      name: alias,
      dims: [...(shape ?? tensor.shape)],
      dataType: DATA_TYPE[tensor.type],
      dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
      externalData: [
        { key: "location", value: this.weightsFileName },
        { key: "offset", value: String(tensor.byteOffset) },
        { key: "length", value: String(tensor.byteLength) },
      ],
    });
    return alias;
  }

  hasWeight(name: string): boolean {
    return Object.hasOwn(this.weights.tensors, name);
  }

  hasMatrix(name: string): boolean {
    return Object.hasOwn(this.weights.matrices, name);
  }

  matrix(name: string): MatrixInfo {
    const info = this.weights.matrices[name];
    if (info === undefined) throw new RangeError(`Cannot reference matrix "${name}": not in the weights file`);
    return info;
  }

  reshape(value: Value, ...shape: readonly number[]): Value {
    return this.node("Reshape", [value, this.ints(...shape)]);
  }

  transpose(value: Value, ...perm: readonly number[]): Value {
    return this.node("Transpose", [value], { perm });
  }

  add(a: Value, b: Value): Value {
    return this.node("Add", [a, b]);
  }

  concat(values: readonly Value[], axis: number): Value {
    return this.node("Concat", values, { axis });
  }

  /** `alpha · a × bᵀ` over the last two dimensions. */
  matMulTransposed(a: Value, b: Value, alpha: number): Value {
    return this.microsoft("FusedMatMul", [a, b], { alpha: { float: alpha }, transB: 1 });
  }

  matMul(a: Value, b: Value): Value {
    return this.node("MatMul", [a, b]);
  }

  /** The serialised ModelProto. */
  toBytes(): Uint8Array {
    const model = onnx.ModelProto.create({
      irVersion: IR_VERSION,
      producerName: "kvault",
      opsetImport: [
        { domain: "", version: OPSET },
        { domain: MICROSOFT, version: 1 },
      ],
      graph: {
        name: "kvault",
        node: this.nodes,
        input: this.inputs,
        output: this.outputs,
        initializer: [...this.initializers.values()],
      },
    });
    return onnx.ModelProto.encode(model).finish();
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly Dim[]): object {
  const dim = shape.map((size) => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: DATA_TYPE[type], shape: { dim } } } };
}

function encodeAttribute(name: string, value: Attribute): object {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === "string") return { name, type: AttributeType.STRING, s: Buffer.from(value) };
  if (typeof value === "number") return { name, type: AttributeType.INT, i: value };
  if (Array.isArray(value)) return { name, type: AttributeType.INTS, ints: [...value] };
  return { name, type: AttributeType.FLOAT, f: (value as { float: number }).float };
}
