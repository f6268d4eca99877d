//! `non_maximum_suppression`.

use candle_core::{DType, Device, Tensor};

use super::check::{Result, bad, elements, need, size};
use crate::call::{Call, Outputs};

/// Chooses boxes by their best score, and drops those that overlap a chosen
/// one (of the same class with `per_class_suppression`) by more than the
/// threshold. When no score reaches `score_threshold`, the best box alone is
/// chosen. Free places hold zeros, their indices -1.
///
/// Up to iOS 16 a box is a row; later it is a column, and there are neither
/// `score_threshold` nor a count.
pub(crate) fn non_maximum_suppression(call: &Call<'_>) -> Outputs {
    let rows = call.is_given("score_threshold");
    let iou = need("iou_threshold", call.float("iou_threshold")?)?;
    let least = match rows {
        true => need("score_threshold", call.float("score_threshold")?)?,
        false => f64::NEG_INFINITY,
    };
    let max = size("max_boxes", need("max_boxes", call.int("max_boxes")?)?)?;
    let per_class = call.bool("per_class_suppression")?.unwrap_or(false);
    let upright = |param: &str| -> Result<Tensor> {
        let t = call.tensor(param)?.data;
        if t.rank() != 3 {
            return Err(bad(param, format_args!("has shape {:?}, expected rank 3", t.dims())));
        }
        Ok(if rows { t } else { t.transpose(1, 2)? })
    };
    let (boxes, scores) = (upright("boxes")?, upright("scores")?);
    let (&[batch, count, 4], &[own, scored, classes]) = (boxes.dims(), scores.dims()) else {
        return Err(bad("boxes", format_args!("has no 4 numbers a box: {:?}", boxes.dims())));
    };
    if own != batch || scored != count || classes == 0 {
        return Err(bad(
            "scores",
            format_args!("are {scored} by {classes} for {own}, but there are {count} boxes for {batch}"),
        ));
    }
    let numbers: Vec<f64> = boxes.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let points: Vec<f64> = scores.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let mut out_boxes = vec![0f64; elements("max_boxes", &[batch, max, 4])?];
    let mut out_scores = vec![0f64; elements("max_boxes", &[batch, max, classes])?];
    let mut out_indices = vec![-1i32; batch * max];
    let mut counts = Vec::with_capacity(batch);
    for n in 0..batch {
        let boxes = &numbers.as_chunks::<4>().0[n * count..(n + 1) * count];
        let scores = &points[n * count * classes..(n + 1) * count * classes];
        let chosen = choose(boxes, scores, classes, iou, least, max, per_class);
        for (place, &index) in chosen.iter().enumerate() {
            let place = n * max + place;
            out_boxes[place * 4..][..4].copy_from_slice(&boxes[index]);
            out_scores[place * classes..][..classes]
                .copy_from_slice(&scores[index * classes..][..classes]);
            out_indices[place] = i32::try_from(index)
                .map_err(|_| bad("boxes", format_args!("index {index} is no int32")))?;
        }
        counts.push(chosen.len() as i32);
    }
    let float = |data: Vec<f64>, width: usize, like: &Tensor| -> Result<Tensor> {
        let t = Tensor::from_vec(data, (batch, max, width), &Device::Cpu)?.to_dtype(like.dtype())?;
        Ok(if rows { t } else { t.transpose(1, 2)? })
    };
    let mut out = vec![
        call.output(0, float(out_boxes, 4, &boxes)?)?,
        call.output(1, float(out_scores, classes, &scores)?)?,
        call.output(2, Tensor::from_vec(out_indices, (batch, max), &Device::Cpu)?)?,
    ];
    if rows {
        out.push(call.output(3, Tensor::from_vec(counts, batch, &Device::Cpu)?)?);
    }
    Ok(out)
}

/// The indices of the boxes that stay, best first.
fn choose(
    boxes: &[[f64; 4]],
    scores: &[f64],
    classes: usize,
    iou: f64,
    least: f64,
    max: usize,
    per_class: bool,
) -> Vec<usize> {
    // Class and score of each box; the first of equal scores. NaN is no score.
    let best: Vec<(usize, f64)> = scores
        .chunks_exact(classes)
        .map(|scores| {
            let mut best = (0, f64::NEG_INFINITY);
            for (class, &score) in scores.iter().enumerate() {
                if score > best.1 {
                    best = (class, score);
                }
            }
            best
        })
        .collect();
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&a, &b| best[b].1.total_cmp(&best[a].1));
    let mut chosen: Vec<usize> = Vec::new();
    for &candidate in &order {
        if chosen.len() == max {
            break;
        }
        let covered = chosen.iter().any(|&other| {
            (!per_class || best[other].0 == best[candidate].0)
                && overlap(&boxes[other], &boxes[candidate]) > iou
        });
        if best[candidate].1 >= least && !covered {
            chosen.push(candidate);
        }
    }
    if chosen.is_empty() {
        chosen.extend(order.first().filter(|_| max > 0));
    }
    chosen
}

/// Intersection over union of two boxes: centre, width and height.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let length = |i: usize| {
        let low = (a[i] - a[i + 2] / 2.0).max(b[i] - b[i + 2] / 2.0);
        let high = (a[i] + a[i + 2] / 2.0).min(b[i] + b[i + 2] / 2.0);
        (high - low).max(0.0)
    };
    let both = length(0) * length(1);
    let union = a[2] * a[3] + b[2] * b[3] - both;
    if union > 0.0 { both / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: [[f64; 4]; 4] = [
        [0.0, 0.0, 2.0, 2.0],
        [0.5, 0.0, 2.0, 2.0],
        [5.0, 5.0, 1.0, 1.0],
        [0.0, 0.0, 2.0, 2.0],
    ];

    #[test]
    fn overlaps_are_dropped_by_class_or_all() {
        assert_eq!(overlap(&BOXES[0], &BOXES[1]), 3.0 / 5.0);
        assert_eq!(overlap(&BOXES[0], &BOXES[2]), 0.0);
        assert_eq!(overlap(&[0.0; 4], &[0.0; 4]), 0.0);
        let scores = [0.5, 0.1, 0.9, 0.2, 0.3, 0.0, 0.0, 0.6];
        let all = |iou, least, max, per_class| choose(&BOXES, &scores, 2, iou, least, max, per_class);
        assert_eq!(all(0.5, -1.0, 9, false), [1, 2]);
        assert_eq!(all(0.7, -1.0, 9, false), [1, 3, 2]);
        assert_eq!(all(0.5, -1.0, 9, true), [1, 3, 2]);
        assert_eq!(all(0.7, 0.55, 9, false), [1, 3]);
        assert_eq!(all(0.7, -1.0, 1, false), [1]);
        // No score is good enough: the best one stays.
        assert_eq!(all(0.7, 2.0, 9, false), [1]);
        assert_eq!(all(0.7, 2.0, 0, false), [0usize; 0]);
    }
}
