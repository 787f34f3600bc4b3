//! The Arrow border: streams come in as checked columns, columns go out as streams.
//!
//! The only file with `unsafe` code. Foreign data is trusted only after `validate_full`.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Float64Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, RecordBatchIterator, RecordBatchReader,
    StringViewArray,
};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use bytemuck::Pod;
use margrave_core::columns::{Numbers, Range, Texts, Validity, Values};
use margrave_core::keys::{Codes, Ids};
use margrave_core::{batch, memory};
use pyo3::exceptions::PyTypeError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::decimals;

import_exception!(margrave.errors, SchemaError);

const STREAM: &CStr = c"arrow_array_stream";

/// A frame as it came over the border, which nobody has validated yet.
pub(crate) struct Foreign {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// One frame, validated.
pub(crate) struct Frame(RecordBatch);

/// Rows of a column that a thread validates at a time.
const ROWS: usize = 1 << 16;

fn refused(error: &ArrowError) -> PyErr {
    SchemaError::new_err(format!("the Arrow stream was refused: {error}"))
}

/// The stream that an object with `__arrow_c_stream__` hands over, where it stands.
fn stream_of(
    object: Borrowed<'_, '_, PyAny>,
) -> PyResult<(NonNull<FFI_ArrowArrayStream>, Py<PyAny>)> {
    let capsule = object.call_method0("__arrow_c_stream__")?;
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(STREAM))?;
    Ok((pointer.cast(), capsule.unbind()))
}

/// The batches of an object with `__arrow_c_stream__`.
fn batches(object: Borrowed<'_, '_, PyAny>) -> PyResult<Foreign> {
    let (pointer, _capsule) = stream_of(object)?;
    // SAFETY: a capsule of this name holds a valid stream by the Arrow PyCapsule contract.
    // `from_raw` moves the stream out and leaves a released one, which the capsule's
    // destructor skips.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
    let read = || -> Result<Foreign, ArrowError> {
        let reader = RecordBatchStreamReader::try_new(stream)?;
        let schema = reader.schema();
        Ok(Foreign { schema, batches: reader.collect::<Result<_, _>>()? })
    };
    // The reader panics on a batch that is not of its schema.
    let torn = |_| {
        let text = "a batch does not have the columns of the schema";
        Err(ArrowError::SchemaError(text.to_owned()))
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(torn).map_err(|e| refused(&e))
}

impl Foreign {
    /// The batches, each column of each validated in full.
    fn validated(&self, threads: usize) -> Result<&[RecordBatch], ArrowError> {
        for column in self.batches.iter().flat_map(RecordBatch::columns) {
            validate(&column.to_data(), threads)?;
        }
        Ok(&self.batches)
    }

    /// The frame, validated in full.
    pub(crate) fn frame(self, threads: usize) -> PyResult<Frame> {
        let whole = self.validated(threads).and_then(|batches| match batches {
            [batch] => Ok(batch.clone()),
            _ => arrow_select::concat::concat_batches(&self.schema, batches),
        });
        whole.map(Frame).map_err(|e| refused(&e))
    }
}

/// `validate_full`, with the texts and the codes of many rows on several threads.
fn validate(column: &ArrayData, threads: usize) -> Result<(), ArrowError> {
    if is_valid_in_slices(column, threads) { Ok(()) } else { column.validate_full() }
}

/// Whether a column of texts or of codes into texts is valid, slice by slice; where one is not,
/// and of other columns, `validate_full` is to say what is wrong.
fn is_valid_in_slices(column: &ArrayData, threads: usize) -> bool {
    let is_of_texts = matches!(column.data_type(), DataType::Utf8View | DataType::Dictionary(..));
    is_of_texts
        && threads > 1
        && column.validate().is_ok()
        && column.validate_nulls().is_ok()
        && !batch::map(threads, batch::steps(column.len(), ROWS), |rows| {
            column.slice(rows.start, rows.len()).validate_values().is_ok()
        })
        .contains(&false)
        && column.child_data().iter().all(|texts| validate(texts, threads).is_ok())
}

/// Whether a stream has columns that only Polars can read: of Null, for which it writes a
/// buffer, or of types that it made up itself.
fn is_for_polars_alone(object: Borrowed<'_, '_, PyAny>) -> PyResult<bool> {
    let (pointer, _capsule) = stream_of(object)?;
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: as in `batches`, the stream is valid; asking for its schema leaves it as it is,
    // and `schema` is written by the producer, or stays the empty one that it is.
    let is_told = unsafe {
        let ask = pointer.as_ref().get_schema();
        ask.is_some_and(|ask| ask(pointer.as_ptr(), &raw mut schema) == 0)
    };
    let polars_alone = |format: &str| format == "n" || format.starts_with("_pl");
    Ok(is_told && schema.children().any(|column| polars_alone(column.format())))
}

impl<'py> FromPyObject<'_, 'py> for Foreign {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        batches(object)
    }
}

impl<'py> FromPyObject<'_, 'py> for Frame {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        batches(object)?.frame(1)
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

    /// A column of flags; None where the frame lacks it, false where one is null.
    pub(crate) fn flags(&self, name: &str) -> PyResult<Option<Vec<bool>>> {
        let flags = |column: &ArrayRef| {
            let known = column.as_boolean_opt();
            let known = known.ok_or_else(|| mistyped(name, column.data_type()))?;
            Ok(known.iter().map(|flag| flag.unwrap_or(false)).collect())
        };
        self.column(name).map(flags).transpose()
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

/// A column of texts whose views are copies of those of `texts`, or 0, which is the empty text's.
pub(crate) fn viewed(
    views: ScalarBuffer<u128>,
    texts: &StringViewArray,
    nulls: Option<NullBuffer>,
) -> StringViewArray {
    let buffers = texts.data_buffers().to_vec();
    // SAFETY: each view is one of a valid array with the same buffers, or that of "".
    unsafe { StringViewArray::new_unchecked(views, Arc::<[Buffer]>::from(buffers), nulls) }
}

/// The memory of a column, as Arrow holds it: shared, not copied.
pub(crate) fn adopted<T: Pod + Send + Sync + RefUnwindSafe + 'static>(
    values: memory::Buffer<T>,
) -> Buffer {
    shared(Arc::new(values))
}

/// The same where others read it too.
pub(crate) fn shared<T: Pod + Send + Sync + RefUnwindSafe + 'static>(
    values: Arc<memory::Buffer<T>>,
) -> Buffer {
    let bytes: &[u8] = bytemuck::cast_slice(&values);
    let (pointer, length) = (NonNull::from(bytes).cast(), bytes.len());
    // SAFETY: the values live on the heap or in a mapping, where they stay as long as their
    // owner, which is never written to again and which the buffer keeps alive.
    unsafe { Buffer::from_custom_allocation(pointer, length, values) }
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

    fn views(&self) -> Option<&[u128]> {
        Some(self.0.views())
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
            DataType::UInt8 => coded::<UInt8Type>(name, column, nulls, Codes::Narrow),
            DataType::UInt16 => coded::<UInt16Type>(name, column, nulls, Codes::Short),
            DataType::UInt32 => coded::<UInt32Type>(name, column, nulls, Codes::Wide),
            _ => Err(mistyped(name, column.data_type())),
        },
        found => Err(mistyped(name, found)),
    }
}

fn coded<K: ArrowDictionaryKeyType>(
    name: &str,
    column: &ArrayRef,
    nulls: Option<Validity>,
    codes: fn(Values<K::Native>) -> Codes,
) -> PyResult<Ids> {
    let dictionary = column.as_dictionary::<K>();
    let Some(texts) = dictionary.values().as_string_view_opt() else {
        return Err(mistyped(name, column.data_type()));
    };
    let keys = Values::new(dictionary.keys().values().clone());
    Ok(Ids::coded(codes(keys), Arc::new(Views(texts.clone())), nulls))
}

/// A frame on its way out: anything that reads Arrow streams can take it, without a copy.
#[pyclass(frozen, module = "margrave._core")]
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// A frame of named columns of equal length.
    pub(crate) fn new(columns: Vec<(&str, ArrayRef)>) -> PyResult<Self> {
        let plain = |(name, column): (&str, ArrayRef)| {
            (Field::new(name, column.data_type().clone(), true), column)
        };
        Self::of_fields(columns.into_iter().map(plain))
    }

    /// The same of columns whose fields say more.
    pub(crate) fn of_fields(columns: impl Iterator<Item = (Field, ArrayRef)>) -> PyResult<Self> {
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| refused(&e))?;
        Ok(Self { schema, batches: vec![batch] })
    }
}

/// Takes a foreign stream in: validated in full, and with every decimal in 128 bits or as the
/// nearest double, since that is what Polars reads right.
///
/// None, with the stream untouched, where only Polars can read it.
#[pyfunction]
pub(crate) fn read_stream(source: &Bound<'_, PyAny>) -> PyResult<Option<Table>> {
    if is_for_polars_alone(source.as_borrowed())? {
        return Ok(None);
    }
    let foreign = batches(source.as_borrowed())?;
    foreign.validated(1).map_err(|e| refused(&e))?;
    let Foreign { schema, mut batches } = foreign;
    let mut fields = schema.fields().to_vec();
    for (number, field) in fields.iter_mut().enumerate() {
        let chunks: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(number)).collect();
        let read = decimals::readable(field.data_type(), &chunks).map_err(|e| refused(&e))?;
        let Some((kind, chunks)) = read else { continue };
        *field = Arc::new(Field::new(field.name(), kind, true));
        for (batch, chunk) in batches.iter_mut().zip(chunks) {
            *batch = replaced(batch, number, Arc::clone(field), chunk).map_err(|e| refused(&e))?;
        }
    }
    Ok(Some(Table { schema: Arc::new(Schema::new(fields)), batches }))
}

/// A batch with another column at `number`.
fn replaced(
    batch: &RecordBatch,
    number: usize,
    field: FieldRef,
    column: ArrayRef,
) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (batch.schema().fields().to_vec(), batch.columns().to_vec());
    (fields[number], columns[number]) = (field, column);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
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
        let batches: Vec<_> = self.batches.iter().cloned().map(Ok).collect();
        let batches = RecordBatchIterator::new(batches, Arc::clone(&self.schema));
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
