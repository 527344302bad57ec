-- PET and CT that arrived go on to fedpet's receiver. What fedpet stores here (SR, SEG, PDF, maps) stays.
function OnStableSeries(series, tags, metadata)
  if tags['Modality'] == 'PT' or tags['Modality'] == 'CT' then
    RestApiPost('/modalities/receiver/store', DumpJson({Resources = {series}, Synchronous = false}))
  end
end
