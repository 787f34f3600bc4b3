//! One way from the core's errors, and from a panic, to Python's exceptions.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use margrave_core::batch::{self, Interrupted};
use margrave_core::error::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError};
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(margrave.errors, DataError);
import_exception!(margrave.errors, RulesError);
import_exception!(margrave.errors, InternalError);

/// An error of the core on its way to Python.
pub(crate) struct Refused(pub(crate) Error);

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        let text = refused.0.to_string();
        match refused.0 {
            Error::Data(_) => DataError::new_err(text),
            Error::Rules(_) => RulesError::new_err(text),
            Error::Internal(_) => InternalError::new_err(format!(
                "control totals do not come out:\n{text}\nhint: this is a bug; please report it with this message"
            )),
        }
    }
}

/// The `OSError` of a file that could not be read: its number, what the system says, the file.
pub(crate) fn unread(error: &std::io::Error, path: &Path) -> PyErr {
    let text = error.to_string();
    let said = text.split(" (os error").next().unwrap_or_default().to_owned();
    PyOSError::new_err((error.raw_os_error(), said, path.to_path_buf()))
}

thread_local! {
    /// What is told how much of a call of this thread is done.
    static PROGRESS: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

/// Has `told` called with the fraction done, a few times a second, while this thread's calls
/// run; with None, nobody.
#[pyfunction]
pub(crate) fn progress(told: Option<Py<PyAny>>) {
    PROGRESS.set(told);
}

/// Tells whoever is to be told that so much is done.
fn tell(py: Python<'_>, done: f64) -> PyResult<()> {
    let told = PROGRESS.with_borrow(|told| told.as_ref().map(|told| told.clone_ref(py)));
    told.map_or(Ok(()), |told| told.call1(py, (done,)).map(|_| ()))
}

/// Runs `work` without the interpreter lock; a panic becomes an `InternalError`.
///
/// What a signal's handler raises meanwhile (`KeyboardInterrupt`) ends the work and is raised.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let raised: Arc<Mutex<Option<PyErr>>> = Arc::default();
    let seen = Arc::clone(&raised);
    let is_over = move |done: f64| {
        let looked = |py: Python<'_>| py.check_signals().and_then(|()| tell(py, done)).err();
        let raised = Python::attach(looked);
        let is_over = raised.is_some();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = raised;
        is_over
    };
    py.detach(|| catch_unwind(AssertUnwindSafe(|| batch::watched(is_over, work)))).map_err(|panic| {
        if panic.is::<Interrupted>() {
            let raised = raised.lock().unwrap_or_else(PoisonError::into_inner).take();
            return raised.unwrap_or_else(|| PyKeyboardInterrupt::new_err(()));
        }
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let version = env!("CARGO_PKG_VERSION");
        InternalError::new_err(format!(
            "margrave {version} failed inside: {text}\nhint: this is a bug; please report it with this message"
        ))
    })
}
