use std::fmt;
use std::time::Duration;

/// How a cost should grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrowthShape {
    /// In proportion.
    Linear,
    /// Not at all.
    Flat,
}

impl GrowthShape {
    /// Returns the largest exponent that passes for it.
    fn most(self) -> f64 {
        match self {
            Self::Linear => 1.05,
            Self::Flat => 0.1,
        }
    }
}

/// What one command took at one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    /// How much there was.
    pub(super) size: u64,
    /// CPU time.
    pub(super) cpu: Duration,
    /// The most memory that no file stands behind; none if it was over before anybody looked.
    pub(super) private_bytes: Option<u64>,
    /// CPU time of the same by raw means, if there are such.
    pub(super) limit: Option<Duration>,
}

/// A cost at three sizes.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// What was done.
    pub(super) what: String,
    /// What there was more and more of.
    pub(super) of: &'static str,
    pub(super) shape: GrowthShape,
    /// The raw means, if there are such.
    pub(super) limit: Option<&'static str>,
    pub(super) points: Vec<Point>,
}

/// The head of a table of curves.
pub(super) const HEAD: &str = "\
| what | of | sizes | CPU | exponent | wanted | private memory | a unit more | limit, its exponent | times the limit |
|---|---|---|---|---:|---:|---:|---:|---|---:|
";

impl Curve {
    pub(super) fn new(what: impl Into<String>, of: &'static str, shape: GrowthShape) -> Self {
        Self {
            what: what.into(),
            of,
            shape,
            limit: None,
            points: Vec::new(),
        }
    }

    /// Returns the exponent: of what should be flat from the smallest size to the largest, of the
    /// rest in the last decade, where what every command costs no longer counts.
    fn exponent(&self) -> Option<f64> {
        self.exponent_of(|point| Some(point.cpu))
    }

    /// Returns that of the raw means.
    fn exponent_of_limit(&self) -> Option<f64> {
        self.exponent_of(|point| point.limit)
    }

    fn exponent_of(&self, cpu: impl Fn(&Point) -> Option<Duration>) -> Option<f64> {
        let last = self.points.last()?;
        let first = match self.shape {
            GrowthShape::Linear => self.points.get(self.points.len().checked_sub(2)?)?,
            GrowthShape::Flat => self.points.first()?,
        };
        let times = cpu(last)?.as_secs_f64() / cpu(first)?.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let sizes = last.size as f64 / first.size as f64;
        Some(times.ln() / sizes.ln())
    }

    /// Says whether it grows no faster than it should: a little faster than the raw means at most, on a
    /// file system that gets slower itself.
    pub(super) fn is_as_wanted(&self) -> bool {
        let most = match (self.shape, self.exponent_of_limit()) {
            (GrowthShape::Linear, Some(limit)) => self.shape.most().max(limit + 0.05),
            (shape, _) => shape.most(),
        };
        self.exponent().is_some_and(|exponent| exponent <= most)
    }

    /// Returns how many bytes of memory one unit more takes, in the last decade.
    fn bytes_a_unit(&self) -> Option<f64> {
        let [.., before, last] = &self.points[..] else {
            return None;
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let more = last.private_bytes? as f64 - before.private_bytes? as f64;
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        let units = (last.size - before.size) as f64;
        Some(more / units)
    }

    /// Returns the row of the table.
    pub(super) fn row(&self) -> String {
        let list = |cell: &dyn Fn(&Point) -> String| {
            let cells: Vec<String> = self.points.iter().map(cell).collect();
            cells.join(", ")
        };
        let last = self.points.last();
        let memory = last.and_then(|last| last.private_bytes);
        let of_limit = last.and_then(|last| {
            let limit = last.limit.filter(|limit| !limit.is_zero())?;
            Some(last.cpu.as_secs_f64() / limit.as_secs_f64())
        });
        let dash = || "-".to_owned();
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.what,
            self.of,
            list(&|point| point.size.to_string()),
            list(&|point| seconds(point.cpu)),
            self.exponent()
                .map_or_else(dash, |exponent| format!("{exponent:.2}")),
            self.shape.most(),
            memory.map_or_else(dash, |bytes| format!("{} MiB", bytes >> 20)),
            self.bytes_a_unit()
                .map_or_else(dash, |bytes| format!("{bytes:.0} bytes")),
            match (self.limit, self.exponent_of_limit()) {
                (Some(limit), Some(exponent)) => format!("{limit}, {exponent:.2}"),
                _ => dash(),
            },
            of_limit.map_or_else(dash, |times| format!("{times:.2}")),
        )
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let costs: Vec<String> = self.points.iter().map(|point| seconds(point.cpu)).collect();
        let exponent = self.exponent().unwrap_or(f64::NAN);
        write!(
            formatter,
            "{} of {}: {}, exponent {exponent:.2}",
            self.what,
            self.of,
            costs.join(", ")
        )
    }
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(shape: GrowthShape, milliseconds: [u64; 3]) -> Curve {
        let points = [10, 100, 1000].into_iter().zip(milliseconds);
        Curve {
            points: points
                .map(|(size, cpu)| Point {
                    size,
                    cpu: Duration::from_millis(cpu),
                    private_bytes: Some((1 << 20) + size * 100),
                    limit: Some(Duration::from_millis(5)),
                })
                .collect(),
            ..Curve::new("building", "files", shape)
        }
    }

    #[test]
    fn exponents_are_those_of_the_growth() {
        for (shape, milliseconds, expected, is_wanted) in [
            (GrowthShape::Linear, [50, 100, 1000], 1.0, true),
            (GrowthShape::Linear, [1, 10, 1000], 2.0, false),
            (GrowthShape::Flat, [10, 10, 10], 0.0, true),
            (GrowthShape::Flat, [10, 10, 100], 0.5, false),
        ] {
            let curve = curve(shape, milliseconds);
            let exponent = curve.exponent().unwrap();
            assert!((exponent - expected).abs() < 1e-9, "{milliseconds:?}");
            assert_eq!(curve.is_as_wanted(), is_wanted, "{milliseconds:?}");
        }
        assert!(!Curve::new("nothing", "files", GrowthShape::Flat).is_as_wanted());
    }

    #[test]
    fn rows_say_everything_that_is_known() {
        let row = curve(GrowthShape::Linear, [50, 100, 1500]).row();
        assert_eq!(
            row,
            "| building | files | 10, 100, 1000 | 50.0 ms, 100.0 ms, 1.50 s | 1.18 | 1.05 | 1 MiB | \
             100 bytes | - | 300.00 |"
        );
    }
}
