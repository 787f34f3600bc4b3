//! The Arrow border: streams come in as checked columns, columns go out as streams.
//!
//! The only file with `unsafe` code. Foreign data is trusted only after `validate_full`.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Float64Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, RecordBatchIterator, RecordBatchReader,
    StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use margrave_core::columns::{Numbers, Range, Texts, Validity, Values};
use margrave_core::keys::Ids;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

const STREAM: &CStr = c"arrow_array_stream";

/// One frame, as it came over the border.
pub(crate) struct Frame(RecordBatch);

fn refused(error: &ArrowError) -> PyErr {
    PyTypeError::new_err(format!("the Arrow stream was refused: {error}"))
}

impl<'py> FromPyObject<'_, 'py> for Frame {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let capsule = object.call_method0("__arrow_c_stream__")?;
        let capsule = capsule.cast::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(STREAM))?;
        // SAFETY: a capsule of this name holds a valid stream by the Arrow PyCapsule contract.
        // `from_raw` moves the stream out and leaves a released one, which the capsule's
        // destructor skips.
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.cast().as_ptr()) };
        let reader = RecordBatchStreamReader::try_new(stream).map_err(|e| refused(&e))?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> =
            reader.collect::<Result<_, _>>().map_err(|e| refused(&e))?;
        for column in batches.iter().flat_map(RecordBatch::columns) {
            column.to_data().validate_full().map_err(|e| refused(&e))?;
        }
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            _ => {
                arrow_select::concat::concat_batches(&schema, &batches).map_err(|e| refused(&e))?
            }
        };
        Ok(Self(batch))
    }
}

impl Frame {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.0.num_rows()
    }

    /// The columns with their names.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (String, &ArrayRef)> {
        let names = self.0.schema();
        let name = move |i: usize| names.field(i).name().clone();
        self.0.columns().iter().enumerate().map(move |(i, column)| (name(i), column))
    }

    fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.0.column_by_name(name)
    }

    fn required(&self, name: &str) -> PyResult<&ArrayRef> {
        self.column(name).ok_or_else(|| PyTypeError::new_err(format!("no column {name}")))
    }

    /// A column of numbers; None where the frame lacks it.
    pub(crate) fn numbers(&self, name: &'static str, range: Range) -> PyResult<Option<Numbers>> {
        let Some(column) = self.column(name) else {
            return Ok(None);
        };
        let column = primitive::<Float64Type>(name, column)?;
        let numbers = Numbers::new(name, range, Values::new(column.values().clone()));
        Ok(Some(numbers.with_validity(validity(column.nulls()))))
    }

    /// A column of ids that must be there.
    pub(crate) fn ids(&self, name: &str) -> PyResult<Ids> {
        ids(name, self.required(name)?)
    }

    /// A column of ids; None where the frame lacks it.
    pub(crate) fn optional_ids(&self, name: &str) -> PyResult<Option<Ids>> {
        self.column(name).map(|column| ids(name, column)).transpose()
    }

    /// A column of small codes; None where the frame lacks it.
    pub(crate) fn codes(&self, name: &str) -> PyResult<Option<Values<u8>>> {
        let column = self.column(name).map(|column| primitive::<UInt8Type>(name, column));
        Ok(column.transpose()?.map(|column| Values::new(column.values().clone())))
    }
}

fn primitive<'a, T: ArrowPrimitiveType>(
    name: &str,
    column: &'a ArrayRef,
) -> PyResult<&'a PrimitiveArray<T>> {
    column.as_primitive_opt::<T>().ok_or_else(|| mistyped(name, column.data_type()))
}

fn mistyped(name: &str, found: &DataType) -> PyErr {
    PyTypeError::new_err(format!("column {name} has the Arrow type {found}"))
}

fn validity(nulls: Option<&NullBuffer>) -> Option<Validity> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0)?;
    Some(Validity::from_words(nulls.inner().bit_chunks().iter_padded().collect()))
}

/// Texts in views, as Polars keeps them.
struct Views(StringViewArray);

impl Texts for Views {
    fn len(&self) -> usize {
        Array::len(&self.0)
    }

    fn text(&self, row: usize) -> &str {
        if self.0.is_valid(row) { self.0.value(row) } else { "" }
    }
}

fn ids(name: &str, column: &ArrayRef) -> PyResult<Ids> {
    let nulls = validity(column.logical_nulls().as_ref());
    match column.data_type() {
        DataType::Int64 => {
            let values = primitive::<Int64Type>(name, column)?.values().clone();
            Ok(Ids::integers(Values::new(values), nulls))
        }
        DataType::Utf8View => {
            Ok(Ids::texts(Arc::new(Views(column.as_string_view().clone())), nulls))
        }
        DataType::Dictionary(key, _) => match key.as_ref() {
            DataType::UInt8 => coded::<UInt8Type>(name, column, nulls),
            DataType::UInt16 => coded::<UInt16Type>(name, column, nulls),
            DataType::UInt32 => coded::<UInt32Type>(name, column, nulls),
            _ => Err(mistyped(name, column.data_type())),
        },
        found => Err(mistyped(name, found)),
    }
}

fn coded<K: ArrowDictionaryKeyType>(
    name: &str,
    column: &ArrayRef,
    nulls: Option<Validity>,
) -> PyResult<Ids>
where
    K::Native: Into<u32>,
{
    let dictionary = column.as_dictionary::<K>();
    let Some(texts) = dictionary.values().as_string_view_opt() else {
        return Err(mistyped(name, column.data_type()));
    };
    let codes: Vec<u32> = dictionary.keys().values().iter().map(|code| (*code).into()).collect();
    Ok(Ids::codes(Values::new(codes), Arc::new(Views(texts.clone())), nulls))
}

/// A frame on its way out: anything that reads Arrow streams can take it, without a copy.
#[pyclass(frozen, module = "margrave._core")]
pub(crate) struct Table(RecordBatch);

impl Table {
    /// A frame of named columns of equal length.
    pub(crate) fn new(columns: Vec<(&str, ArrayRef)>) -> PyResult<Self> {
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .map(Self)
        .map_err(|e| refused(&e))
    }
}

#[pymethods]
impl Table {
    /// The rows as an Arrow C stream.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema); // a request, which the contract lets us decline
        let batches = RecordBatchIterator::new([Ok(self.0.clone())], self.0.schema());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), STREAM)
    }
}

/// Hashes the columns of a frame, in their order.
pub(crate) fn digest(
    digest: &mut margrave_core::digest::Digest,
    name: &str,
    frame: &Frame,
) -> PyResult<()> {
    digest.frame(name, frame.rows());
    for (name, column) in frame.columns() {
        match column.data_type() {
            DataType::Float64 => {
                digest.numbers(&name, column.as_primitive::<Float64Type>().iter());
            }
            DataType::Int64 => digest.integers(&name, column.as_primitive::<Int64Type>().iter()),
            DataType::UInt64 => {
                let column = column.as_primitive::<UInt64Type>();
                digest.integers(&name, column.iter().map(|v| v.map(|v| v as i64)));
            }
            DataType::Boolean => digest.flags(&name, column.as_boolean().iter()),
            DataType::Utf8View => digest.texts(&name, column.as_string_view().iter()),
            DataType::Dictionary(..) => {
                let ids = ids(&name, column)?;
                let texts: Vec<Option<String>> = (0..column.len()).map(|i| ids.text(i)).collect();
                digest.texts(&name, texts.iter().map(Option::as_deref));
            }
            found => return Err(mistyped(&name, found)),
        }
    }
    Ok(())
}
