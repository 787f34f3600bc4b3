//! Decimals of every width as what Polars reads: 128 bits, or the nearest doubles.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal32Type, Decimal64Type, Decimal256Type, DecimalType};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float64Array, PrimitiveArray};
use arrow_schema::{ArrowError, DataType};

/// The digits that a decimal of 128 bits has.
const DIGITS: u8 = 38;

type Read = Option<(DataType, Vec<ArrayRef>)>;

/// The chunks of a column in the type that they can be read in; None where they can as they are.
///
/// Decimals of 32, 64 and 256 bits get 128; where those cannot hold a value of the column, all
/// of it becomes the nearest doubles.
pub(crate) fn readable(kind: &DataType, chunks: &[&ArrayRef]) -> Result<Read, ArrowError> {
    match kind {
        DataType::Decimal32(digits, scale) => widen(chunks, *digits, *scale, |chunk| {
            chunk.as_primitive::<Decimal32Type>().iter().map(|v| v.map(i128::from)).collect()
        }),
        DataType::Decimal64(digits, scale) => widen(chunks, *digits, *scale, |chunk| {
            chunk.as_primitive::<Decimal64Type>().iter().map(|v| v.map(i128::from)).collect()
        }),
        DataType::Decimal256(_, scale) if is_narrow(chunks, *scale) => {
            widen(chunks, DIGITS, *scale, |chunk| {
                let chunk = chunk.as_primitive::<Decimal256Type>();
                chunk.iter().map(|value| value.and_then(|value| value.to_i128())).collect()
            })
        }
        DataType::Decimal256(..) => {
            let nearest = |chunk: &&ArrayRef| -> Result<ArrayRef, ArrowError> {
                Ok(Arc::new(nearest(chunk.as_primitive::<Decimal256Type>())?))
            };
            let chunks = chunks.iter().map(nearest).collect::<Result<_, _>>()?;
            Ok(Some((DataType::Float64, chunks)))
        }
        kind if holds_strange(kind) => Err(ArrowError::CastError(format!(
            "{kind} holds decimals of 32, 64 or 256 bits, which Polars cannot read; cast them to decimal128 or to a float"
        ))),
        _ => Ok(None),
    }
}

/// Whether a nested type holds decimals that are not of 128 bits.
fn holds_strange(kind: &DataType) -> bool {
    let is_strange = |kind: &DataType| {
        matches!(kind, DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..))
            || holds_strange(kind)
    };
    match kind {
        DataType::List(field)
        | DataType::ListView(field)
        | DataType::LargeList(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => is_strange(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_strange(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| is_strange(field.data_type())),
        DataType::Dictionary(_, values) => is_strange(values),
        _ => false,
    }
}

fn widen(
    chunks: &[&ArrayRef],
    digits: u8,
    scale: i8,
    values: impl Fn(&ArrayRef) -> Decimal128Array,
) -> Result<Read, ArrowError> {
    let widened = |chunk: &&ArrayRef| -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(values(chunk).with_precision_and_scale(digits, scale)?))
    };
    let chunks = chunks.iter().map(widened).collect::<Result<_, _>>()?;
    Ok(Some((DataType::Decimal128(digits, scale), chunks)))
}

/// Whether 128 bits hold every value of the chunks.
fn is_narrow(chunks: &[&ArrayRef], scale: i8) -> bool {
    let fits = |value: i128| value.unsigned_abs() < 10u128.pow(u32::from(DIGITS));
    let mut values = chunks.iter().flat_map(|chunk| chunk.as_primitive::<Decimal256Type>().iter());
    (0..=DIGITS as i8).contains(&scale)
        && values.all(|value| value.is_none_or(|value| value.to_i128().is_some_and(fits)))
}

fn nearest<T: DecimalType>(column: &PrimitiveArray<T>) -> Result<Float64Array, ArrowError> {
    let number = |i: usize| {
        let text = column.value_as_string(i);
        text.parse::<f64>().map_err(|_| ArrowError::CastError(format!("{text} is no number")))
    };
    (0..column.len()).map(|i| column.is_valid(i).then(|| number(i)).transpose()).collect()
}
