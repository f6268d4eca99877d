//! A plain evaluator: index by index, in double precision, written apart from
//! the interpreter and the passes.

use std::collections::HashMap;

use milwright_ir::{Arg, BlobSource, Dim, NoBlobs, Op, OpView, Program};

use super::Tensor;

/// Runs `main` on `x`; the results by name. Every value must have the type
/// that the program declares.
pub(crate) fn evaluate(program: &Program, x: &Tensor) -> HashMap<String, Tensor> {
    let function = &program.functions[0];
    let body = function.body().unwrap();
    let mut values = HashMap::new();
    values.insert(function.inputs[0], x.clone());
    for &id in &program.blocks[body].ops {
        let op = &program.ops[id];
        let view = OpView::new(program, id, &NoBlobs);
        let arg = |name: &str| -> Option<Tensor> {
            match op.args(name).first()? {
                Arg::Value(v) => values.get(v).cloned(),
                Arg::Const(_) => panic!("an immediate"),
            }
        };
        let ints = |name: &str| view.ints(name).unwrap().known();
        let flag = |name: &str| view.bools(name).unwrap().known().is_some_and(|b| b[0]);
        let need = |name: &str| arg(name).unwrap_or_else(|| panic!("{name} of {}", op.op_type));
        let result = match op.op_type.as_str() {
            "const" => {
                let c = op.attribute("val").unwrap();
                let ty = c.tensor_type().unwrap();
                let Ok(data) = c.to_f64s(&NoBlobs as &dyn BlobSource) else {
                    continue;
                };
                let shape = ty.known_shape().unwrap().into_iter().map(|d| d as usize);
                Tensor::new(shape.collect(), data)
            }
            "reshape" => reshape(need("x"), &ints("shape").unwrap()),
            "transpose" => transpose(&need("x"), &ints("perm").unwrap()),
            "pad" => pad(&need("x"), &ints("pad").unwrap()),
            "slice_by_index" => slice(
                &need("x"),
                &ints("begin").unwrap(),
                &ints("end").unwrap(),
                ints("stride"),
                &view.bools("end_mask").unwrap().known().unwrap_or_default(),
            ),
            "concat" => {
                let parts: Vec<&Tensor> = op
                    .args("values")
                    .iter()
                    .map(|a| match a {
                        Arg::Value(v) => &values[v],
                        Arg::Const(_) => panic!("an immediate"),
                    })
                    .collect();
                concat(&parts, ints("axis").unwrap()[0] as usize)
            }
            "matmul" => matmul(
                swapped(need("x"), flag("transpose_x")),
                swapped(need("y"), flag("transpose_y")),
            ),
            "mul" => broadcast(&need("x"), &need("y"), |a, b| a * b),
            "add" => broadcast(&need("x"), &need("y"), |a, b| a + b),
            "conv" => conv(op, &view, &need("x"), &need("weight"), arg("bias").as_ref()),
            "conv_transpose" => {
                conv_transpose(&view, &need("x"), &need("weight"), arg("bias").as_ref())
            }
            other => panic!("no evaluation of {other}"),
        };
        let declared = &program.values[op.outputs[0]];
        let ty = declared.ty.as_tensor().unwrap();
        let fits = ty.shape.len() == result.shape.len()
            && ty.shape.iter().zip(&result.shape).all(|(d, &r)| match d {
                Dim::Known(d) => *d == r as u64,
                _ => true,
            });
        assert!(
            fits,
            "`{}` is declared {ty}, found {:?}",
            declared.name, result.shape
        );
        values.insert(op.outputs[0], result);
    }
    let outputs = &program.blocks[body].outputs;
    outputs
        .iter()
        .map(|v| (program.values[*v].name.clone(), values[v].clone()))
        .collect()
}

fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i] * shape[i];
    }
    steps
}

/// A tensor of that shape from a function of the index.
fn build(shape: Vec<usize>, mut f: impl FnMut(&[usize]) -> f64) -> Tensor {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut data = Vec::with_capacity(count);
    for _ in 0..count {
        data.push(f(&index));
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    Tensor { shape, data }
}

fn at(t: &Tensor, index: &[usize]) -> f64 {
    let offset: usize = steps(&t.shape).iter().zip(index).map(|(s, i)| s * i).sum();
    t.data[offset]
}

fn reshape(x: Tensor, shape: &[i64]) -> Tensor {
    let known: usize = shape
        .iter()
        .filter(|&&d| d >= 0)
        .map(|&d| d as usize)
        .product();
    assert!(shape.iter().filter(|&&d| d < 0).count() <= 1);
    let shape: Vec<usize> = shape
        .iter()
        .map(|&d| match d {
            -1 => x.data.len() / known,
            d => d as usize,
        })
        .collect();
    Tensor::new(shape, x.data)
}

fn transpose(x: &Tensor, perm: &[i64]) -> Tensor {
    let shape = perm.iter().map(|&p| x.shape[p as usize]).collect();
    build(shape, |index| {
        let mut source = vec![0; index.len()];
        for (i, &p) in perm.iter().enumerate() {
            source[p as usize] = index[i];
        }
        at(x, &source)
    })
}

fn pad(x: &Tensor, pads: &[i64]) -> Tensor {
    assert_eq!(pads.len(), x.shape.len() * 2);
    let pads: Vec<usize> = pads.iter().map(|&p| usize::try_from(p).unwrap()).collect();
    let shape = x.shape.iter().enumerate();
    let shape = shape
        .map(|(i, &d)| d + pads[2 * i] + pads[2 * i + 1])
        .collect();
    build(shape, |index| {
        let mut source = Vec::new();
        for (i, &p) in index.iter().enumerate() {
            match p.checked_sub(pads[2 * i]) {
                Some(s) if s < x.shape[i] => source.push(s),
                _ => return 0.0,
            }
        }
        at(x, &source)
    })
}

fn slice(
    x: &Tensor,
    begin: &[i64],
    end: &[i64],
    stride: Option<Vec<i64>>,
    open: &[bool],
) -> Tensor {
    let stride = stride.unwrap_or(vec![1; begin.len()]);
    let mut shape = Vec::new();
    for (i, &size) in x.shape.iter().enumerate() {
        let size = size as i64;
        let stop = match (open[i], end[i]) {
            (true, _) => size,
            (false, e) if e < 0 => size + e,
            (false, e) => e,
        };
        assert!(
            0 <= begin[i] && begin[i] < stop && stop <= size,
            "{begin:?} {end:?} of {:?}",
            x.shape
        );
        shape.push(((stop - begin[i]) as usize).div_ceil(stride[i] as usize));
    }
    build(shape, |index| {
        let source = index.iter().enumerate();
        let source: Vec<usize> = source
            .map(|(i, &p)| begin[i] as usize + p * stride[i] as usize)
            .collect();
        at(x, &source)
    })
}

fn concat(parts: &[&Tensor], axis: usize) -> Tensor {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
    build(shape, |index| {
        let mut index = index.to_vec();
        for part in parts {
            if index[axis] < part.shape[axis] {
                return at(part, &index);
            }
            index[axis] -= part.shape[axis];
        }
        unreachable!()
    })
}

fn swapped(x: Tensor, yes: bool) -> Tensor {
    if !yes {
        return x;
    }
    let rank = x.shape.len() as i64;
    let mut perm: Vec<i64> = (0..rank).collect();
    perm.swap(rank as usize - 1, rank as usize - 2);
    transpose(&x, &perm)
}

fn matmul(x: Tensor, y: Tensor) -> Tensor {
    let rank = x.shape.len();
    assert_eq!(rank, y.shape.len());
    assert_eq!(x.shape[rank - 1], y.shape[rank - 2]);
    let mut shape: Vec<usize> = (0..rank - 2).map(|i| x.shape[i].max(y.shape[i])).collect();
    shape.extend([x.shape[rank - 2], y.shape[rank - 1]]);
    build(shape, |index| {
        let pick = |t: &Tensor, index: &[usize]| {
            let index = index.iter().zip(&t.shape);
            let index: Vec<usize> = index.map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
            at(t, &index)
        };
        let (mut a, mut b) = (index.to_vec(), index.to_vec());
        (0..x.shape[rank - 1])
            .map(|k| {
                a[rank - 1] = k;
                b[rank - 2] = k;
                pick(&x, &a) * pick(&y, &b)
            })
            .sum()
    })
}

fn broadcast(x: &Tensor, y: &Tensor, f: impl Fn(f64, f64) -> f64) -> Tensor {
    assert_eq!(x.shape.len(), y.shape.len());
    let shape = x.shape.iter().zip(&y.shape).map(|(&a, &b)| {
        assert!(a == b || a == 1 || b == 1);
        a.max(b)
    });
    build(shape.collect(), |index| {
        let pick = |t: &Tensor| {
            let index = index.iter().zip(&t.shape);
            let index: Vec<usize> = index.map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
            at(t, &index)
        };
        f(pick(x), pick(y))
    })
}

struct Params {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    groups: usize,
    pad_type: String,
    pad: Vec<usize>,
    output_shape: Option<Vec<usize>>,
}

fn params(view: &OpView<'_>, rank: usize) -> Params {
    let list = |name: &str| -> Option<Vec<usize>> {
        let given = view.ints(name).unwrap().known()?;
        Some(given.iter().map(|&v| v as usize).collect())
    };
    Params {
        strides: list("strides").unwrap_or(vec![1; rank]),
        dilations: list("dilations").unwrap_or(vec![1; rank]),
        groups: list("groups").map_or(1, |g| g[0]),
        pad_type: view
            .string("pad_type")
            .unwrap()
            .known()
            .unwrap_or("valid".into()),
        pad: list("pad").unwrap_or(vec![0; 2 * rank]),
        output_shape: list("output_shape"),
    }
}

/// `same` pads: as few zeros as give `ceil(size / stride)` results.
fn same(size: usize, kernel: usize, stride: usize, dilation: usize, lower: bool) -> usize {
    let reach = (kernel - 1) * dilation + 1;
    let total = ((size.div_ceil(stride) - 1) * stride + reach).saturating_sub(size);
    if lower { total - total / 2 } else { total / 2 }
}

fn conv(op: &Op, view: &OpView<'_>, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let rank = x.shape.len() - 2;
    let p = params(view, rank);
    let mut begins = Vec::new();
    let mut shape = vec![x.shape[0], w.shape[0]];
    for i in 0..rank {
        let (size, k, s, d) = (x.shape[i + 2], w.shape[i + 2], p.strides[i], p.dilations[i]);
        let reach = (k - 1) * d + 1;
        let (begin, out) = match p.pad_type.as_str() {
            "valid" => (0, (size - reach) / s + 1),
            "custom" => (
                p.pad[2 * i],
                (size + p.pad[2 * i] + p.pad[2 * i + 1] - reach) / s + 1,
            ),
            kind => (same(size, k, s, d, kind == "same_lower"), size.div_ceil(s)),
        };
        begins.push(begin);
        shape.push(out);
    }
    assert_eq!(op.outputs.len(), 1);
    let per_group = w.shape[0] / p.groups;
    let channels = w.shape[1];
    build(shape, |index| {
        let group = index[1] / per_group;
        let mut sum = bias.map_or(0.0, |b| b.data[index[1]]);
        let kernel: Vec<usize> = w.shape[1..].to_vec();
        let mut source = vec![0; rank + 2];
        source[0] = index[0];
        let taps = build(kernel, |tap| {
            source[1] = group * channels + tap[0];
            for i in 0..rank {
                let at = index[i + 2] * p.strides[i] + tap[i + 1] * p.dilations[i];
                match at.checked_sub(begins[i]) {
                    Some(s) if s < x.shape[i + 2] => source[i + 2] = s,
                    _ => return 0.0,
                }
            }
            let mut weight = vec![index[1]];
            weight.extend(tap);
            at(x, &source) * at(w, &weight)
        });
        sum += taps.data.iter().sum::<f64>();
        sum
    })
}

/// Adds what each input element gives to each result it reaches.
fn conv_transpose(view: &OpView<'_>, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let rank = x.shape.len() - 2;
    let p = params(view, rank);
    let per_group = w.shape[1];
    let mut begins = Vec::new();
    let mut shape = vec![x.shape[0], per_group * p.groups];
    for i in 0..rank {
        let (size, k, s, d) = (x.shape[i + 2], w.shape[i + 2], p.strides[i], p.dilations[i]);
        let full = (size - 1) * s + (k - 1) * d + 1;
        let given = p.output_shape.as_ref().map(|o| o[i + 2]);
        let (begin, out) = match p.pad_type.as_str() {
            "valid" => (0, given.unwrap_or(full)),
            "custom" => {
                let out = full - p.pad[2 * i] - p.pad[2 * i + 1];
                (p.pad[2 * i], given.unwrap_or(out))
            }
            _ => {
                let out = given.unwrap_or(size * s);
                (same(out, k, s, d, false), out)
            }
        };
        begins.push(begin);
        shape.push(out);
    }
    let mut y = build(shape, |index| bias.map_or(0.0, |b| b.data[index[1]]));
    let steps = steps(&y.shape);
    let x_index = build(x.shape.clone(), |_| 0.0);
    let groups_in = x.shape[1] / p.groups;
    let mut additions = Vec::new();
    build(x_index.shape.clone(), |index| {
        let value = at(x, index);
        let group = index[1] / groups_in;
        build(w.shape[1..].to_vec(), |tap| {
            let mut offset = index[0] * steps[0] + (group * per_group + tap[0]) * steps[1];
            for i in 0..rank {
                let position = index[i + 2] * p.strides[i] + tap[i + 1] * p.dilations[i];
                match position.checked_sub(begins[i]) {
                    Some(o) if o < y.shape[i + 2] => offset += o * steps[i + 2],
                    _ => return 0.0,
                }
            }
            let mut weight = vec![index[1]];
            weight.extend(tap);
            additions.push((offset, value * at(w, &weight)));
            0.0
        });
        0.0
    });
    for (offset, value) in additions {
        y.data[offset] += value;
    }
    y
}
