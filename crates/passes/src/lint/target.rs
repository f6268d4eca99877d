//! Devices: which Neural Engine a model is for, and what sizes it takes.

use std::fmt;

use milwright_ir::{Dim, TensorType};

/// A generation of the Neural Engine, named as its compiler names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A14, M1.
    H13,
    /// A15, M2.
    H14,
    /// A16, M3.
    H15,
    /// M4.
    H16,
    /// M5.
    H17,
}

impl Family {
    /// The sizes that it takes.
    pub fn caps(self) -> Caps {
        const WIDE: u64 = 65_536;
        const NARROW: u64 = 16_384;
        let side = if self >= Self::H16 { WIDE } else { NARROW };
        Caps {
            n: WIDE,
            d: side,
            c: WIDE,
            h: side,
            w: side,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The device that a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// Not known: every limit is that of the oldest family.
    #[default]
    Any,
    /// A device or chip; index into the table of names.
    Chip(Chip),
}

/// A device or chip with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chip(usize);

/// Every name, with its family and whether it is a telephone's.
///
/// No source that we trust says which family A17 and later are, so they have
/// the limits of the newest one of a telephone that is known.
const CHIPS: [(&str, Family, bool); 13] = [
    ("iphone13", Family::H14, true),
    ("iphone15", Family::H15, true),
    ("a14", Family::H13, true),
    ("a15", Family::H14, true),
    ("a16", Family::H15, true),
    ("a17", Family::H15, true),
    ("a18", Family::H15, true),
    ("a19", Family::H15, true),
    ("m1", Family::H13, false),
    ("m2", Family::H14, false),
    ("m3", Family::H15, false),
    ("m4", Family::H16, false),
    ("m5", Family::H17, false),
];

impl Target {
    /// Every target, `any` first.
    pub fn all() -> impl Iterator<Item = Target> {
        std::iter::once(Self::Any).chain((0..CHIPS.len()).map(|i| Self::Chip(Chip(i))))
    }

    /// The target of that name (`any`, `iphone13`, `a17`, `m4`, ...).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|t| t.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Chip(Chip(i)) => CHIPS[i].0,
        }
    }

    /// The family whose limits hold: of `any`, the oldest.
    pub fn family(self) -> Family {
        match self {
            Self::Any => Family::H13,
            Self::Chip(Chip(i)) => CHIPS[i].1,
        }
    }

    /// Whether the model may run on a telephone.
    pub fn may_be_phone(self) -> bool {
        match self {
            Self::Any => true,
            Self::Chip(Chip(i)) => CHIPS[i].2,
        }
    }

    /// The sizes that it takes.
    pub fn caps(self) -> Caps {
        self.family().caps()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The largest size of each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Batch.
    pub n: u64,
    /// Depth.
    pub d: u64,
    /// Channels.
    pub c: u64,
    /// Height.
    pub h: u64,
    /// Width: the last axis.
    pub w: u64,
}

impl Caps {
    fn axes(&self) -> [(Axis, u64); 5] {
        [
            (Axis::N, self.n),
            (Axis::D, self.d),
            (Axis::C, self.c),
            (Axis::H, self.h),
            (Axis::W, self.w),
        ]
    }
}

/// As devices write it: `N[1-65536] D[1-16384] ...`.
impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (axis, cap)) in self.axes().into_iter().enumerate() {
            write!(f, "{}{axis}[1-{cap}]", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

/// An axis of the view that the Neural Engine has of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Batch.
    N,
    /// Depth.
    D,
    /// Channels.
    C,
    /// Height.
    H,
    /// Width.
    W,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A tensor as the Neural Engine sees it: the last axis is the width, the one
/// before it the height, then depth (of five axes), channels and batch. A size
/// that is not known is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ncdhw {
    /// Batch.
    pub n: Option<u64>,
    /// Depth.
    pub d: Option<u64>,
    /// Channels.
    pub c: Option<u64>,
    /// Height.
    pub h: Option<u64>,
    /// Width.
    pub w: Option<u64>,
}

/// A size that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Which.
    pub axis: Axis,
    /// How large.
    pub size: u64,
    /// How large it may be.
    pub limit: u64,
}

impl Ncdhw {
    /// The view of a tensor; `None` when it has more than five axes or nobody
    /// knows how many.
    pub fn of(ty: &TensorType) -> Option<Self> {
        ty.rank()?;
        let sizes: Vec<Option<u64>> = ty.shape.iter().map(|d: &Dim| d.known()).collect();
        Self::of_sizes(&sizes)
    }

    /// The view of sizes, outermost first; `None` when there are more than five.
    pub fn of_sizes(sizes: &[Option<u64>]) -> Option<Self> {
        // From the last axis on.
        let mut back = sizes.iter().rev().copied();
        let mut next = || back.next().unwrap_or(Some(1));
        let (w, h) = (next(), next());
        let d = if sizes.len() == 5 { next() } else { Some(1) };
        let (c, n) = (next(), next());
        (sizes.len() <= 5).then_some(Self { n, d, c, h, w })
    }

    fn axes(&self) -> [(Axis, Option<u64>); 5] {
        [
            (Axis::N, self.n),
            (Axis::D, self.d),
            (Axis::C, self.c),
            (Axis::H, self.h),
            (Axis::W, self.w),
        ]
    }

    /// The size that is furthest beyond its cap. A size that is not known is
    /// not beyond any.
    pub fn beyond(&self, caps: &Caps) -> Option<Excess> {
        let over = self.axes().into_iter().zip(caps.axes());
        let over = over.filter_map(|((axis, size), (_, limit))| {
            let size = size.filter(|&s| s > limit)?;
            Some(Excess { axis, size, limit })
        });
        // The caps are powers of two: the quotients compare as the ratios do
        // where it matters, and the sizes decide the rest.
        over.max_by_key(|e| (e.size / e.limit, e.size))
    }

    /// What a device says of a tensor that it refuses.
    pub fn refusal(&self, caps: &Caps) -> String {
        format!("Tensor dimensions {self} are not within supported range, {caps}.")
    }
}

/// As devices write it: `N1D1C1H1W240000`; `?` for a size that is not known.
impl fmt::Display for Ncdhw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (axis, size) in self.axes() {
            match size {
                Some(size) => write!(f, "{axis}{size}")?,
                None => write!(f, "{axis}?")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milwright_ir::DataType;

    use super::*;

    fn view(shape: &[u64]) -> Option<Ncdhw> {
        Ncdhw::of(&TensorType::fixed(DataType::Float16, shape))
    }

    #[test]
    fn the_view_is_aligned_to_the_right() {
        let text = |shape: &[u64]| view(shape).unwrap().to_string();
        assert_eq!(text(&[]), "N1D1C1H1W1");
        assert_eq!(text(&[1, 240_000]), "N1D1C1H1W240000");
        assert_eq!(text(&[2, 3, 4]), "N1D1C2H3W4");
        assert_eq!(text(&[2, 3, 4, 5]), "N2D1C3H4W5");
        assert_eq!(text(&[2, 3, 4, 5, 6]), "N2D4C3H5W6");
        assert_eq!(view(&[1; 6]), None);
        let open = TensorType::new(DataType::Float16, vec![Dim::Unknown, Dim::Known(7)]);
        assert_eq!(Ncdhw::of(&open).unwrap().to_string(), "N1D1C1H?W7");
        let variadic = TensorType::new(DataType::Float16, vec![Dim::Variadic]);
        assert_eq!(Ncdhw::of(&variadic), None);
    }

    #[test]
    fn a_refusal_reads_as_the_device_words_it() {
        let caps = Target::from_name("iphone13").unwrap().caps();
        assert_eq!(
            view(&[1, 240_000]).unwrap().refusal(&caps),
            "Tensor dimensions N1D1C1H1W240000 are not within supported range, N[1-65536] \
             D[1-16384] C[1-65536] H[1-16384] W[1-16384]."
        );
    }

    #[test]
    fn caps_hold_exactly() {
        let beyond = |shape: &[u64], target: &str| {
            let caps = Target::from_name(target).unwrap().caps();
            view(shape)
                .unwrap()
                .beyond(&caps)
                .map(|e| (e.axis, e.size, e.limit))
        };
        assert_eq!(beyond(&[1, 16_384], "any"), None);
        assert_eq!(beyond(&[1, 16_385], "any"), Some((Axis::W, 16_385, 16_384)));
        assert_eq!(beyond(&[1, 16_385], "m4"), None);
        assert_eq!(beyond(&[1, 65_537], "m4"), Some((Axis::W, 65_537, 65_536)));
        assert_eq!(beyond(&[20_000, 1, 1], "m1"), None);
        assert_eq!(beyond(&[20_000, 1], "m1"), Some((Axis::H, 20_000, 16_384)));
        assert_eq!(
            beyond(&[20_000, 240_000], "m1"),
            Some((Axis::W, 240_000, 16_384))
        );
        let open = Ncdhw::of_sizes(&[None, Some(3)]).unwrap();
        assert_eq!(open.beyond(&Family::H13.caps()), None);
    }

    #[test]
    fn targets_have_names() {
        let names: Vec<&str> = Target::all().map(Target::name).collect();
        assert_eq!(names.len(), 14);
        for name in names {
            assert_eq!(Target::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Target::from_name("a13"), None);
        assert_eq!(Target::from_name("a17").unwrap().family(), Family::H15);
        assert_eq!(Target::default().family(), Family::H13);
        println!("{} targets", Target::all().count());
    }
}
